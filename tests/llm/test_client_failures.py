"""Endpoints that misbehave: what is retried, given up, charged, and what ends a run."""

from __future__ import annotations

import json
import re
import socket
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest

from helpers.llm_requests import ask
from llm.conftest import QUICK
from recipekit.errors import RunError
from recipekit.llm.completion import Reply, Request, RequestFailed
from servers.openai_server import (
    Answer,
    always,
    at_rates,
    error,
    in_turn,
    rate_limited,
    serving,
    text,
)

pytestmark = pytest.mark.slow

QUESTIONS = [f"question {number}" for number in range(60)]


def echo(call):
    return text(call.prompt.upper())


# Temporary faults
# -------------------------------------------------------------------------------------------------

TEMPORARY = {
    "429": rate_limited(),
    "429 with Retry-After": rate_limited(0.01),
    "500": error(500),
    "503": error(503, retry_after="0.01"),
    "connection cut in the reply": text("lost", cut=0.7),
    "connection cut before the reply": text("lost", cut=0.0),
    "truncated JSON": Answer(body=b'{"id": "x", "choices": [{"mess'),
    "a page of HTML": Answer(body=b"<html>busy</html>"),
    "a page that is not UTF-8": Answer(body="<html>à</html>".encode("latin-1")),
    "no choices": Answer(
        body=b'{"id": "x", "object": "chat.completion", "model": "m", "choices": []}'
    ),
    "an error with status 200": Answer(body=b'{"error": {"message": "overloaded"}}'),
}
UNBILLED = ("429", "429 with Retry-After", "500", "503")


@pytest.mark.parametrize("fault", TEMPORARY)
def test_a_temporary_fault_is_retried(at, fault):
    with serving(in_turn([TEMPORARY[fault]], echo)) as server:
        made = at(server)
        reply = made.complete([ask("q")])["q"]
    assert reply.text == "Q"
    assert server.ledger.arrived == 2
    charged = made.budget.charged_usd
    if fault in UNBILLED:
        assert made.budget.calls == 1
        assert charged == pytest.approx(reply.cost_usd)
    else:  # what may have been billed is charged at its worst case
        assert made.budget.calls == 2
        assert charged >= server.ledger.usd > reply.cost_usd
    assert made.budget.in_flight == 0


@pytest.mark.parametrize(
    "fault", [Answer("x", hang=True), text("x", drip=0.05)], ids=["hang", "slow drip"]
)
def test_no_call_lasts_longer_than_its_time_out(at, fault):
    with serving(in_turn([fault], echo)) as server:
        made = at(server, timeout=0.3)
        assert made.complete([ask("q")])["q"].text == "Q"
    assert server.ledger.arrived == 2
    assert made.budget.charged_usd > server.ledger.usd / 2
    assert made.budget.calls == 2


def test_faults_of_every_kind_together_lose_nothing(at):
    # A slow machine must not turn a short run of 429s into an endpoint that is down.
    policy = replace(QUICK, max_attempts=20, restart_seconds=60)
    spoil = {(lambda good, fault=fault: fault): 0.05 for fault in TEMPORARY.values()}
    with serving(at_rates(spoil, echo, seed=5)) as server:
        made = at(server, concurrency=16, policy=policy)
        replies = made.complete(map(ask, QUESTIONS))
    assert {question: reply.text for question, reply in replies.items()} == {
        question: question.upper() for question in QUESTIONS
    }
    assert made.budget.charged_usd >= server.ledger.usd
    assert made.budget.in_flight == 0
    assert len(made.cache) == len(QUESTIONS)


def test_every_call_waits_for_a_retry_after(at):
    with serving(in_turn([rate_limited(0.3)], echo)) as server:
        at(server, concurrency=1).complete(map(ask, QUESTIONS[:3]))
    first, second, *_ = server.ledger.arrivals
    assert second - first >= 0.3


GEMINI = {
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details. For "
    "more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n"
    "Please retry in 0.25s.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.2s"}],
}


@pytest.mark.parametrize(
    "body",
    [
        {"error": GEMINI},
        [{"error": GEMINI}],
        {"error": {"message": "Limit reached. Please try again in 250ms.", "type": "requests"}},
    ],
    ids=["gemini", "gemini's list", "openai"],
)
def test_a_delay_in_the_text_of_a_429_is_waited_for(at, body):
    limited = Answer(status=429, body=json.dumps(body).encode())
    with serving(in_turn([limited], echo)) as server:
        assert at(server).complete([ask("q")])["q"].text == "Q"
    first, second = server.ledger.arrivals
    assert second - first >= 0.25


def test_a_rate_limit_that_lasts_is_reported_once_and_gives_up_no_request(at):
    """A 429 does not count as an attempt."""
    with serving(in_turn([rate_limited(0.01)] * 40, echo)) as server:
        made = at(server, concurrency=4, policy=replace(QUICK, restart_seconds=60))
        replies = made.complete(map(ask, QUESTIONS[:4]))
    assert all(isinstance(reply, Reply) for reply in replies.values())
    [warning] = made.progress.warnings
    assert warning.startswith("the endpoint limits the rate of calls (429")


# Requests that fail
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (text("", refusal="I will not judge this"), "refusal"),
        (text("", finish_reason="content_filter"), "content_filter"),
        (text("word " * 100), "cut"),
        (text(""), "empty"),
        (text(" \n"), "empty"),
        (
            error(
                400,
                "This model's maximum context length is 10 tokens",
                code="context_length_exceeded",
            ),
            "too_long",
        ),
        (error(400, "your prompt holds an invalid character"), "bad_request"),
        (
            error(
                400, 'Input should be shorter: "Your credit balance is too low, insufficient_quota"'
            ),
            "bad_request",
        ),
        (
            error(403, "openai/test-model requires moderation. Your input was flagged"),
            "content_filter",
        ),
    ],
)
def test_a_failed_request_is_not_retried_and_not_cached(at, answer, kind):
    with serving(always(answer)) as server:
        made = at(server)
        first, second = (made.complete([ask("q")])["q"] for _ in range(2))
    assert isinstance(first, RequestFailed)
    assert (first.kind, second.kind) == (kind, kind)
    assert server.ledger.arrived == 2
    assert len(made.cache) == 0
    assert made.budget.charged_usd == pytest.approx(server.ledger.usd)
    assert (first.cost_usd or 0) == pytest.approx(server.ledger.usd / 2)


def test_a_request_larger_than_the_limit_per_minute_is_too_long(at):
    message = (
        "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 10000, "
        "Requested 10217. The input or output tokens must be reduced in order to run successfully."
    )
    too_large = error(429, message, code="rate_limit_exceeded")
    with serving(lambda call: too_large if "7" in call.prompt else echo(call)) as server:
        made = at(server)
        outcomes = made.complete(map(ask, QUESTIONS))
    failed = {question for question, one in outcomes.items() if isinstance(one, RequestFailed)}
    assert failed == {question for question in QUESTIONS if "7" in question}
    assert (outcomes["question 7"].kind, outcomes["question 7"].status) == ("too_long", 429)
    assert server.ledger.arrived == len(QUESTIONS)
    assert made.budget.charged_usd == pytest.approx(server.ledger.usd)


def test_a_request_of_too_many_bytes_is_too_long(at):
    with serving(always(error(413, "Request exceeds the maximum size"))) as server:
        made = at(server)
        failure = made.complete([ask("q")])["q"]
    assert (failure.kind, failure.status) == ("too_long", 413)
    assert made.budget.charged_usd == 0


def test_a_request_of_too_many_bytes_is_too_long_for_anthropic_too(at):
    message = "Request exceeds the maximum allowed number of bytes."
    body = {"type": "error", "error": {"type": "request_too_large", "message": message}}
    with serving(always(Answer(status=413, body=json.dumps(body).encode()))) as server:
        request = Request("anthropic/claude-haiku-4-5", ask("q").messages, {"max_tokens": 5})
        assert at(server.url, api_key="k").complete([request])["q"].kind == "too_long"


def test_a_reply_that_the_endpoint_withholds_because_it_is_not_json_is_empty_and_charged(at):
    message = "Failed to validate JSON. Please adjust your prompt. See 'failed_generation'."
    withheld = error(400, message, code="json_validate_failed", kind="invalid_request_error")
    with serving(always(withheld)) as server:
        made = at(server)
        assert made.complete([ask("q")])["q"].kind == "empty"
    assert server.ledger.arrived == 1
    assert made.budget.charged_usd > 0  # something was generated, and may be billed


def test_text_that_cannot_be_sent_fails_alone(at):
    with serving(echo) as server:
        outcomes = at(server).complete(map(ask, ("half of \ud83d", *QUESTIONS[:4])))
    assert outcomes.pop("half of \ud83d").kind == "bad_request"
    assert {reply.text for reply in outcomes.values()} == {q.upper() for q in QUESTIONS[:4]}


@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize("place", [0, 30, 60])
def test_a_request_on_which_the_endpoint_always_fails_does_not_stop_the_others(
    at, concurrency, place
):
    requests = [ask(question) for question in (*QUESTIONS[:place], "poison", *QUESTIONS[place:])]
    with serving(lambda call: error(500) if "poison" in call.prompt else echo(call)) as server:
        outcomes = at(server, concurrency=concurrency).complete(requests)
    assert outcomes.pop("poison").kind == "unanswered"
    assert {reply.text for reply in outcomes.values()} == {q.upper() for q in QUESTIONS}


def test_a_request_is_given_up_after_its_attempts_if_others_succeed_meanwhile(at):
    """It does not wait for as long as a restart takes."""
    with serving(lambda call: error(500) if "poison" in call.prompt else echo(call)) as server:
        made = at(server, concurrency=1, policy=replace(QUICK, restart_seconds=60))
        outcomes = made.complete(map(ask, ("poison", *QUESTIONS[:10])))
    assert outcomes.pop("poison").reason == "4 attempts failed (last: 500 no)"
    assert {reply.text for reply in outcomes.values()} == {q.upper() for q in QUESTIONS[:10]}


@pytest.mark.parametrize("place", [5, 60])
def test_requests_that_hang_are_given_up_in_a_first_run_and_in_a_rerun(at, place):
    poisons = [f"poison {number}" for number in range(6)]
    policy = replace(QUICK, max_attempts=2)
    hang = Answer("x", hang=True)
    with serving(lambda call: hang if "poison" in call.prompt else echo(call)) as server:
        made = at(server, concurrency=4, timeout=0.2, policy=policy)
        first = made.complete(map(ask, (*QUESTIONS[:place], *poisons, *QUESTIONS[place:])))
        later = made.complete(map(ask, (*poisons, *QUESTIONS, "another")))
    for outcomes in (first, later):
        assert {outcomes.pop(poison).kind for poison in poisons} == {"unanswered"}
        assert all(isinstance(reply, Reply) for reply in outcomes.values())


# What ends a run
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 16])
def test_an_endpoint_that_goes_down_ends_the_run_and_paid_replies_are_kept(at, concurrency):
    with serving(in_turn([echo] * 20, error(503, "upstream is down"))) as server:
        made = at(server, concurrency=concurrency)
        with pytest.raises(RunError) as raised:
            made.complete(map(ask, QUESTIONS))
        assert raised.value.code == "RK650"
        assert re.search(r": \d\d+ calls failed one after another", str(raised.value))
        assert "upstream is down" in str(raised.value)
        assert "run the same command again" in str(raised.value)
        assert len(made.cache) == 20
        server.policy = echo
        assert len(at(server).complete(map(ask, QUESTIONS))) == len(QUESTIONS)
    assert server.ledger.paid_twice == []


@pytest.mark.parametrize("requests", [1, 20])
@pytest.mark.parametrize("fault", ["429", "503", "connection cut before the reply"])
def test_a_restart_of_the_server_ends_no_run_and_loses_no_request(at, fault, requests):
    """More calls fail than rule 1 allows, and more at the only request than rule 2 allows."""
    faults = [TEMPORARY[fault]] * (8 if requests == 1 else 40)
    with serving(in_turn(faults, echo)) as server:
        made = at(server, concurrency=16, policy=replace(QUICK, restart_seconds=60))
        replies = made.complete(map(ask, QUESTIONS[:requests]))
    assert {reply.text for reply in replies.values()} == {q.upper() for q in QUESTIONS[:requests]}
    assert server.ledger.arrived == len(faults) + requests


def test_requests_wait_for_a_server_that_is_started_again(at, monkeypatch):
    monkeypatch.setattr("recipekit.llm.endpoint_health.check_connection", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    made = at(f"http://127.0.0.1:{port}/v1", policy=replace(QUICK, restart_seconds=60))
    with ExitStack() as stack:

        def start(message):
            assert "calls fail and are retried" in message
            assert "cannot be reached" in message
            stack.enter_context(serving(echo, port=port))

        made.progress.warn = start
        replies = made.complete(map(ask, QUESTIONS[:20]))
    assert {reply.text for reply in replies.values()} == {q.upper() for q in QUESTIONS[:20]}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/v1", "cannot be reached"),
        ("http://no-such-host.invalid/v1", "no such host"),
    ],
)
def test_a_server_that_is_down_ends_the_run_before_a_call_although_replies_are_stored(
    at, url, words
):
    with serving(echo) as server:
        at(server).complete(map(ask, QUESTIONS[:5]))
    made = at(url)
    assert len(made.complete(map(ask, QUESTIONS[:5]))) == 5, "stored replies need no server"
    calls = made.budget.calls
    with pytest.raises(RunError, match=words):
        made.complete(map(ask, QUESTIONS))
    assert made.budget.calls == calls


def test_an_endpoint_that_hangs_ends_the_run_after_few_rounds_of_timeouts(at):
    policy = replace(QUICK, max_attempts=5)
    with serving(always(Answer("x", hang=True))) as server:
        made = at(server, concurrency=16, timeout=0.2, policy=policy)
        with pytest.raises(RunError, match=r"20 calls failed .*no complete reply within 0.2 s"):
            made.complete(map(ask, QUESTIONS))
    # Sent calls, since on a busy machine one can time out before the server has read it.
    assert 20 <= made.budget.calls < 20 + 8, "16 calls, then 8 at a time"


def test_a_call_that_waits_for_room_in_the_budget_is_not_made_after_the_run_has_ended(at):
    wrong_key = replace(error(401, "no such key"), delay=0.2)
    with serving(always(wrong_key)) as server:
        made = at(server, spending={"max_calls": 1})
        with pytest.raises(RunError, match="refused the credentials"):
            made.complete(map(ask, QUESTIONS[:4]))
    assert server.ledger.arrived == 1


def test_an_endpoint_that_answers_no_request_ends_even_a_short_run(at):
    with serving(always(error(500, "out of order"))) as server:
        made = at(server)
        outcomes = made.complete([ask("q")])
    assert outcomes["q"].kind == "unanswered"
    with pytest.raises(RunError, match=r"answered no request .*out of order"):
        made.client.health.check_answered("openai/test-model")


def test_a_run_with_some_replies_is_not_taken_for_one_without_any(at):
    with serving(lambda call: error(500) if "poison" in call.prompt else echo(call)) as server:
        made = at(server)
        made.complete(map(ask, ("poison", "q")))
    made.client.health.check_answered("openai/test-model")


def test_repeated_failures_are_reported(at):
    with serving(in_turn([error(500, "out of order")] * 4, echo)) as server:
        made = at(server, concurrency=1, policy=replace(QUICK, max_attempts=6))
        made.complete([ask("q")])
    assert made.progress.warnings == ["calls fail and are retried (500 out of order)"]


def test_an_endpoint_that_answers_nothing_but_429_ends_the_run(at):
    with (
        serving(always(rate_limited())) as server,
        pytest.raises(RunError, match=r"calls failed one after another .*Rate limit reached"),
    ):
        at(server).complete(map(ask, QUESTIONS))


@pytest.mark.parametrize("more", [b"", "à la porte".encode("latin-1")], ids=["utf-8", "latin-1"])
def test_a_page_in_place_of_a_reply_is_shown(at, more):
    page = Answer(body=b"<html><body>Please log in " + more + b"</body></html>")
    with (
        serving(always(page)) as server,
        pytest.raises(RunError, match="the reply is not JSON: '<html><body>Please log in"),
    ):
        at(server).complete(map(ask, QUESTIONS[:5]))


def test_a_host_whose_name_is_invalid_ends_the_run_at_once(at):
    made = at("http://..nowhere/v1")
    with pytest.raises(RunError, match="no such host") as raised:
        made.complete(map(ask, QUESTIONS[:2]))
    assert raised.value.code == "RK653"
    assert made.budget.charged_usd == 0


def test_a_wait_that_is_too_long_ends_the_run(at):
    with (
        serving(always(rate_limited(3600))) as server,
        pytest.raises(RunError, match="asks to wait 3600 s"),
    ):
        at(server).complete(map(ask, QUESTIONS))


FATAL = [
    ("RK651", error(401, "Incorrect API key provided: sk-very-secret-key", code="invalid_api_key")),
    ("RK652", error(404, "The model does not exist", code="model_not_found")),
    (
        "RK654",
        error(
            429,
            "You exceeded your current quota, please check your plan",
            code="insufficient_quota",
        ),
    ),
    ("RK654", error(402, "Payment required")),
    ("RK654", error(400, "Your credit balance is too low to access the Anthropic API")),
    ("RK655", error(403, "The key sk-very-secret-key lacks a permission")),
    ("RK655", error(400, "Unrecognized request argument")),
]


@pytest.mark.parametrize(
    ("code", "answer"), FATAL, ids=[f"{code} {answer.status}" for code, answer in FATAL]
)
def test_an_error_that_concerns_every_request_ends_the_run(at, code, answer):
    with serving(always(answer)) as server:
        made = at(server, api_key="sk-very-secret-key")
        with pytest.raises(RunError) as raised:
            made.complete(map(ask, QUESTIONS))
    assert raised.value.code == code
    assert server.url in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(made.client._endpoint)
    in_flight = 8
    counted = 20 if code == "RK655" else 1
    assert server.ledger.arrived < counted + in_flight, "nothing is sent after the last failure"
    assert made.budget.charged_usd == 0


def test_a_key_that_no_header_can_contain_ends_the_run_before_anything_is_sent(at):
    with serving(echo) as server:
        made = at(server, api_key="ключ-secret")
        wanted = "key or a header contains a character that cannot be sent"
        with pytest.raises(RunError, match=wanted) as raised:
            made.complete(map(ask, QUESTIONS))
    assert raised.value.code == "RK656"
    assert "secret" not in str(raised.value)
    assert server.ledger.arrived == made.budget.charged_usd == 0


def test_a_provider_whose_package_is_not_installed_ends_the_run_at_once(at, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.auth", None)
    request = Request("vertex_ai/gemini-2.5-flash", ask("q").messages, {"max_tokens": 40})
    with serving(echo) as server:
        made = at(server)
        with pytest.raises(RunError, match=r"litellm needs a package.* not installed") as raised:
            made.complete([request])
    assert raised.value.code == "RK656"
    assert server.ledger.arrived == made.budget.charged_usd == 0


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        (
            "http://127.0.0.1:9/v1",
            "RK650",
            "Start the server, or correct",
        ),
        ("http://no-such-host.invalid/v1", "RK653", "no such host"),
    ],
)
def test_an_address_where_nothing_listens_ends_the_run(at, url, code, words):
    made = at(url)
    with pytest.raises(RunError, match=words) as raised:
        made.complete([ask("q")])
    assert raised.value.code == code
    assert made.budget.charged_usd == 0
    assert made.budget.calls == 0


def test_replies_that_are_on_their_way_when_a_run_ends_are_kept(at):
    wrong_key = error(401, "no such key")

    def policy(call):
        return wrong_key if "question 7" in call.prompt else text("x", delay=0.1)

    with serving(policy) as server:
        made = at(server)
        with pytest.raises(RunError, match="refused the credentials"):
            made.complete(map(ask, QUESTIONS[:9]))
        assert len(made.cache) == server.ledger.billed >= 7
        assert made.budget.charged_usd == pytest.approx(server.ledger.usd)
        server.policy = echo
        assert len(at(server).complete(map(ask, QUESTIONS))) == len(QUESTIONS)
    assert server.ledger.paid_twice == []
