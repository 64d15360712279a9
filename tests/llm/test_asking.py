"""Asking a real server that misbehaves: what comes back, what is paid, and what is asked again."""

from __future__ import annotations

import asyncio
import json
import sys
from random import Random
from types import SimpleNamespace

import pytest
from llm_requests import PRICE, ask

from recipekit.component import Spending
from recipekit.engines import RetryPolicy
from recipekit.errors import RunError
from recipekit.llm.attempts import UNPAID, Attempts, Call
from recipekit.llm.budget import Budget
from recipekit.llm.calls import Failure, Reply, Request, TokenChance, Usage
from recipekit.llm.client import Client
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.environment import litellm
from recipekit.llm.pace import Pace
from recipekit.llm.store import CallStore
from servers.openai_server import (
    Answer,
    Ledger,
    always,
    at_rates,
    error,
    in_turn,
    rate_limited,
    serving,
    text,
)

QUESTIONS = [f"question {number}" for number in range(60)]


def echo(call):
    return text(call.prompt.upper())


def test_every_request_is_answered_once_and_a_rerun_asks_nothing(at):
    with serving(echo) as server:
        first = at(server).answers(map(ask, QUESTIONS))
        again = at(server).answers(map(ask, QUESTIONS))
    assert {question: answer.text for question, answer in first.items()} == {
        question: question.upper() for question in QUESTIONS
    }
    assert {question: answer.text for question, answer in again.items()} == {
        question: answer.text for question, answer in first.items()
    }
    assert not any(answer.from_cache for answer in first.values())
    assert all(answer.from_cache for answer in again.values())
    assert server.ledger.arrived == len(QUESTIONS)
    assert server.ledger.paid_twice == []


def test_what_another_process_has_paid_for_meanwhile_is_not_paid_again(at):
    with serving(echo) as server:
        one, other = at(server), at(server)

        def requests():
            yield ask("q")  # is looked for, and not found
            other.answers([ask("q")])

        answers = one.answers(requests())
    assert answers["q"].text == "Q"
    assert answers["q"].from_cache
    assert (one.asker.calls, one.asker.usd, server.ledger.arrived) == (0, 0.0, 1)


def test_a_reply_bears_what_the_endpoint_said_of_it(at):
    answer = text(
        "yes", model="gpt-5-nano-2025-08-07", cached_tokens=2, reasoning_tokens=7, logprob=-0.25
    )
    with serving(always(answer)) as server:
        reply = at(server).answers([ask("is it so, or is it not?", logprobs=True)])[
            "is it so, or is it not?"
        ]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model, reply.usage) == (
        "yes",
        "gpt-5-nano-2025-08-07",
        Usage(6, 2, 8, 7),
    )
    assert reply.chances == (TokenChance("yes", -0.25),)
    assert reply.cost_usd == pytest.approx(4e-6 + 2e-7 + 32e-6)
    assert reply.cost_usd == pytest.approx(server.ledger.usd)


def test_the_schema_of_the_answer_reaches_the_endpoint(at):
    schema = {
        "type": "json_schema",
        "json_schema": {
            "name": "verdict",
            "strict": True,
            "schema": {"type": "object", "properties": {}},
        },
    }
    with serving(lambda call: text(json.dumps(call.body["response_format"]))) as server:
        answers = at(server).answers([ask("q", response_format=schema, temperature=0.0, seed=3)])
    assert json.loads(answers["q"].text) == schema


def test_calls_in_flight_never_exceed_the_concurrency(at):
    with serving(lambda call: text("x", delay=0.005)) as server:
        at(server, concurrency=5).answers(map(ask, QUESTIONS))
    assert server.ledger.most_in_flight == 5


def test_requests_are_drawn_as_calls_finish(at):
    drawn = []

    def requests():
        for question in QUESTIONS:
            drawn.append(question)
            yield ask(question)

    with serving(echo) as server:
        for answered, _ in enumerate(at(server, concurrency=4).asker.answers(requests())):
            assert (
                len(drawn) - answered <= 4 + 4
            )  # in flight, and answered together but not yet taken


def test_the_same_request_in_flight_is_asked_once(at):
    with serving(lambda call: text("x", delay=0.01)) as server:
        asker = at(server).asker
        answers = list(asker.answers(ask("same", tag=number) for number in range(6)))
    assert sorted(request.tag for request, _ in answers) == list(range(6))
    assert sum(not answer.from_cache for _, answer in answers) == 1
    assert server.ledger.arrived == 1


def test_who_waits_for_answers_before_asking_again_yields_none(at):
    heard = []

    def requests():
        yield ask("first")
        while not heard:
            yield None
        yield ask(f"after {heard[0]}")

    with serving(echo) as server:
        for _, answer in at(server).asker.answers(requests()):
            heard.append(answer.text)
    assert heard == ["FIRST", "AFTER FIRST"]


# Faults that pass
# ----------------------------------------------------------------------------------------------------

PASSING = {
    "429": rate_limited(),
    "429 with Retry-After": rate_limited(0.01),
    "500": error(500),
    "503": error(503, retry_after="0.01"),
    "connection cut in the reply": text("lost", cut=0.7),
    "connection cut before the reply": text("lost", cut=0.0),
    "truncated JSON": Answer(body=b'{"id": "x", "choices": [{"mess'),
    "a page of HTML": Answer(body=b"<html>busy</html>"),
    "no choices": Answer(
        body=b'{"id": "x", "object": "chat.completion", "model": "m", "choices": []}'
    ),
    "an empty answer": text(""),
    "an answer of blanks": text(" \n"),
    "an error with status 200": Answer(body=b'{"error": {"message": "overloaded"}}'),
}
EMPTY = ("an empty answer", "an answer of blanks")
UNBILLED = ("429", "429 with Retry-After", "500", "503")


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(at, fault):
    with serving(in_turn([PASSING[fault]], echo)) as server:
        made = at(server)
        answers = made.answers([ask("q")])
    assert answers["q"].text == "Q"
    assert server.ledger.arrived == 2
    # What may have been billed counts at the most that it can have cost, and what was not counts
    # nothing.
    assert made.budget.calls == (1 if fault in UNBILLED else 2)
    paid = made.budget.spent_usd
    assert (
        paid == pytest.approx(answers["q"].cost_usd)
        if fault in UNBILLED
        else paid >= server.ledger.usd > answers["q"].cost_usd
    )
    assert made.budget.reserved_usd == 0


@pytest.mark.parametrize(
    "fault", [Answer("x", hang=True), text("x", drip=0.05)], ids=["hang", "slow drip"]
)
def test_no_call_lasts_longer_than_its_time_out(at, fault):
    with serving(in_turn([fault], echo)) as server:
        made = at(server, timeout=0.3)
        assert made.answers([ask("q")])["q"].text == "Q"
    assert server.ledger.arrived == 2
    assert made.budget.spent_usd > server.ledger.usd / 2
    assert made.budget.calls == 2


def test_faults_of_every_kind_together_lose_nothing(at):
    # But for empty answers: two in a row are taken for what the model says.
    spoil = {
        (lambda good, fault=fault: fault): 0.05
        for name, fault in PASSING.items()
        if name not in EMPTY
    }
    with serving(at_rates(spoil, echo, seed=5)) as server:
        made = at(
            server, concurrency=16, patience=RetryPolicy(attempts=20, first=0.01, longest=0.02)
        )
        answers = made.answers(map(ask, QUESTIONS * 2))
    assert {question: answer.text for question, answer in answers.items()} == {
        question: question.upper() for question in QUESTIONS
    }
    assert made.budget.spent_usd >= server.ledger.usd
    assert made.budget.reserved_usd == 0
    assert len(made.store) == len(QUESTIONS)


def test_retry_after_is_waited_by_every_call(at):
    with serving(in_turn([rate_limited(0.3)], echo)) as server:
        at(server, concurrency=1).answers(map(ask, QUESTIONS[:3]))
    first, second, *_ = server.ledger.arrivals
    assert second - first >= 0.3


def test_no_more_is_sent_in_a_minute_than_the_recipe_allows(at):
    with serving(echo) as server:
        at(server, requests_per_minute=1200).answers(map(ask, QUESTIONS[:9]))
    first, *_, last = server.ledger.arrivals
    assert (
        last - first >= 7.5 / 20
    )  # a call each 50 ms; the last gap may be a timer's breadth short


# Answers that are none
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (text("", refusal="I will not judge this"), "refusal"),
        (text("", finish_reason="content_filter"), "content_filter"),
        (text("word " * 100), "cut"),
        (text(""), "unparsed"),
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
def test_failures_are_answers_and_never_kept(at, answer, kind):
    with serving(always(answer)) as server:
        made = at(server)
        first, second = (made.answers([ask("q")])["q"] for _ in range(2))
    assert isinstance(first, Failure)
    attempts = 2 if kind == "unparsed" else 1
    assert (first.kind, second.kind) == (kind, kind)
    assert server.ledger.arrived == 2 * attempts
    assert len(made.store) == 0
    assert made.budget.spent_usd == pytest.approx(server.ledger.usd)
    assert (first.cost_usd or 0) == pytest.approx(server.ledger.usd / (2 * attempts))


@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize("place", [0, 30, 60])
def test_a_request_on_which_the_endpoint_always_fails_does_not_stop_the_others(
    at, concurrency, place
):
    requests = [ask(question) for question in (*QUESTIONS[:place], "poison", *QUESTIONS[place:])]
    with serving(lambda call: error(500) if "poison" in call.prompt else echo(call)) as server:
        answers = at(server, concurrency=concurrency).answers(requests)
    assert answers.pop("poison").kind == "unanswered"
    assert {answer.text for answer in answers.values()} == {
        question.upper() for question in QUESTIONS
    }


@pytest.mark.parametrize("place", [5, 30, 60])
def test_more_requests_that_hang_than_may_be_in_flight_do_not_stop_the_others(at, place):
    poisons = [f"poison {number}" for number in range(6)]
    patience = RetryPolicy(attempts=3, first=0.01, longest=0.02, outage=1.0)
    with serving(
        lambda call: Answer("x", hang=True) if "poison" in call.prompt else echo(call)
    ) as server:
        made = at(server, concurrency=4, timeout=0.2, patience=patience)
        answers = made.answers(
            ask(question) for question in (*QUESTIONS[:place], *poisons, *QUESTIONS[place:])
        )
        again = at(server, concurrency=4, timeout=0.2, patience=patience)
        later = again.answers(ask(question) for question in (*poisons, *QUESTIONS, "another"))
    for found in (answers, later):
        assert {found.pop(poison).kind for poison in poisons} == {"unanswered"}
        assert all(isinstance(answer, Reply) for answer in found.values())
    assert (len(answers), len(later)) == (len(QUESTIONS), len(QUESTIONS) + 1)


# What ends a run
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 16])
def test_an_endpoint_that_goes_down_ends_the_run_and_what_was_paid_is_kept(at, concurrency):
    with serving(in_turn([echo] * 20, error(503, "upstream is down"))) as server:
        made = at(server, concurrency=concurrency)
        with pytest.raises(RunError) as raised:
            made.answers(map(ask, QUESTIONS))
        server.policy = echo
        assert raised.value.code == "RK650"
        assert "upstream is down" in str(raised.value)
        assert "run the same command again" in str(raised.value)
        assert len(made.store) == 20
        assert len(at(server).answers(map(ask, QUESTIONS))) == len(QUESTIONS)
    assert server.ledger.paid_twice == []


def test_a_down_endpoint_is_told_of(at):
    with serving(in_turn([error(500)] * 5, echo)) as server:
        made = at(server, concurrency=8)
        assert len(made.answers(map(ask, QUESTIONS))) == len(QUESTIONS)
    assert [warning for warning in made.progress.warnings if "one at a time" in warning]


def test_an_endpoint_that_only_refuses_for_lack_of_room_ends_the_run(at):
    with (
        serving(always(rate_limited())) as server,
        pytest.raises(RunError, match="Rate limit reached"),
    ):
        at(server).answers(map(ask, QUESTIONS))


def test_an_endpoint_that_refuses_for_lack_of_room_again_and_again_is_told_of_once(at):
    with serving(in_turn([rate_limited(0.01)] * 40, echo)) as server:
        made = at(server, patience=RetryPolicy(attempts=8, first=0.01, longest=0.02))
        assert len(made.answers(map(ask, QUESTIONS))) == len(QUESTIONS)
    [told] = made.progress.warnings
    assert told.startswith(
        "the endpoint refuses calls for their number, and is asked more slowly (429"
    )


@pytest.mark.parametrize("more", [b"", "à la porte".encode("latin-1")], ids=["utf-8", "latin-1"])
def test_a_page_in_place_of_an_answer_is_shown(at, more):
    page = Answer(body=b"<html><body>Please log in " + more + b"</body></html>")
    with (
        serving(always(page)) as server,
        pytest.raises(RunError, match="what is no JSON: '<html><body>Please log in"),
    ):
        at(server).answers(map(ask, QUESTIONS[:2]))


def test_a_host_whose_name_cannot_be_written_ends_the_run_at_once(at):
    made = at("http://..nowhere/v1")
    with pytest.raises(RunError, match="no such host") as raised:
        made.answers(map(ask, QUESTIONS[:2]))
    assert raised.value.code == "RK653"
    assert made.budget.spent_usd == 0


def test_words_that_cannot_be_sent_lose_their_own_request_alone(at):
    with serving(echo) as server:
        made = at(server)
        answers = made.answers(map(ask, ("half of \ud83d", *QUESTIONS[:4])))
    assert answers.pop("half of \ud83d").kind == "bad_request"
    assert {answer.text for answer in answers.values()} == {
        question.upper() for question in QUESTIONS[:4]
    }


def test_a_wait_that_nobody_would_sit_through_ends_the_run(at):
    with (
        serving(always(rate_limited(3600))) as server,
        pytest.raises(RunError, match="asks to wait 3600 s"),
    ):
        at(server).answers(map(ask, QUESTIONS))


def test_a_request_larger_than_the_limit_of_a_minute_is_too_long(at):
    """It comes again however long one waits."""
    words = (
        "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 10000, Requested 10217. The input or output "
        "tokens must be reduced in order to run successfully."
    )
    with serving(
        lambda call: (
            error(429, words, code="rate_limit_exceeded") if "7" in call.prompt else echo(call)
        )
    ) as server:
        made = at(server)
        answers = made.answers(map(ask, QUESTIONS))
    assert {question for question, answer in answers.items() if isinstance(answer, Failure)} == {
        q for q in QUESTIONS if "7" in q
    }
    assert (answers["question 7"].kind, answers["question 7"].status) == ("too_long", 429)
    assert server.ledger.arrived == len(QUESTIONS)
    assert made.budget.spent_usd == pytest.approx(server.ledger.usd)


def test_a_request_of_too_many_bytes_is_too_long(at):
    with serving(
        lambda call: (
            error(413, "Request exceeds the maximum size") if "7" in call.prompt else echo(call)
        )
    ) as server:
        made = at(server)
        answers = made.answers(map(ask, QUESTIONS))
    assert (answers["question 7"].kind, answers["question 7"].status) == ("too_long", 413)
    assert made.budget.spent_usd == pytest.approx(server.ledger.usd)


def test_an_answer_that_was_kept_back_for_being_no_json_is_asked_for_once_more(at):
    words = "Failed to validate JSON. Please adjust your prompt. See 'failed_generation' for more details."
    kept_back = error(400, words, code="json_validate_failed", kind="invalid_request_error")
    with serving(in_turn([kept_back], echo)) as server:
        assert at(server).answers([ask("q")])["q"].text == "Q"
        server.policy = always(kept_back)
        made = at(server)
        assert made.answers([ask("another")])["another"].kind == "unparsed"
    assert server.ledger.arrived == 4
    assert made.budget.spent_usd > 0  # something was made, and may be billed


def test_a_request_of_too_many_bytes_is_too_long_for_anthropic_too(at):
    body = {
        "type": "error",
        "error": {
            "type": "request_too_large",
            "message": "Request exceeds the maximum allowed number of bytes.",
        },
    }
    with serving(always(Answer(status=413, body=json.dumps(body).encode()))) as server:
        request = Request(
            "anthropic/claude-haiku-4-5",
            ({"role": "user", "content": "q"},),
            {"max_tokens": 5},
            0,
            "q",
        )
        assert at(server.url, api_key="k").answers([request])["q"].kind == "too_long"


GEMINI = {
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: "
    "https://ai.google.dev/gemini-api/docs/rate-limits.\nPlease retry in 0.25s.",
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
def test_a_rate_limit_is_waited_for_as_long_as_its_words_say(at, body):
    with serving(in_turn([Answer(status=429, body=json.dumps(body).encode())], echo)) as server:
        answers = at(server).answers([ask("q")])
    assert answers["q"].text == "Q"
    first, second = server.ledger.arrivals
    assert second - first >= 0.25


FATAL = [
    ("RK651", error(401, "Incorrect API key provided: sk-very-secret-key", code="invalid_api_key")),
    ("RK651", error(403, "The key sk-very-secret-key lacks a permission")),
    ("RK652", error(404, "The model does not exist", code="model_not_found")),
    (
        "RK654",
        error(
            429,
            "You exceeded your current quota, please check your plan",
            code="insufficient_quota",
        ),
    ),
    ("RK654", error(400, "Your credit balance is too low to access the Anthropic API")),
    ("RK655", error(400, "Unrecognized request argument")),
]


@pytest.mark.parametrize(
    ("code", "answer"), FATAL, ids=[f"{code} {answer.status}" for code, answer in FATAL]
)
def test_what_no_request_survives_ends_the_run_at_once(at, code, answer):
    with serving(always(answer)) as server:
        made = at(server, api_key="sk-very-secret-key")
        with pytest.raises(RunError) as raised:
            made.answers(map(ask, QUESTIONS))
    assert raised.value.code == code
    assert server.url in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(made.client.endpoint)
    assert server.ledger.arrived <= 16
    assert made.budget.spent_usd == 0
    assert made.budget.reserved_usd == 0


def test_a_key_that_no_header_can_hold_is_told_before_anything_is_sent_or_booked(at):
    with serving(echo) as server:
        made = at(server, api_key="ключ-secret")
        with pytest.raises(
            RunError, match="A key or a header holds a character that cannot be sent"
        ) as raised:
            made.answers(map(ask, QUESTIONS))
    assert raised.value.code == "RK656"
    assert "secret" not in str(raised.value)
    assert server.ledger.arrived == made.budget.spent_usd == made.budget.reserved_usd == 0


def test_a_provider_whose_package_is_not_installed_is_told_at_once(at, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with serving(echo) as server:
        made = at(server)
        with pytest.raises(RunError, match=r"litellm needs a package.* not installed") as raised:
            made.answers(
                [Request("vertex_ai/gemini-2.5-flash", ask("q").messages, ask("q").sampling, 0)]
            )
    assert raised.value.code == "RK656"
    assert server.ledger.arrived == made.budget.spent_usd == made.budget.reserved_usd == 0


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:9/v1", "RK650", "cannot be reached"),
        ("http://no-such-host.invalid/v1", "RK653", "no such host"),
    ],
)
def test_an_address_where_nothing_listens(at, url, code, words):
    made = at(url)
    with pytest.raises(RunError, match=words) as raised:
        made.answers([ask("q")])
    assert raised.value.code == code
    assert made.budget.spent_usd == 0
    assert made.budget.calls == 0


def test_the_openai_key_of_the_environment_goes_to_openai_alone(at, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-account")
    sent = []

    def note(call):
        sent.append(call.headers["authorization"])
        return text("x")

    with serving(note) as server:
        at(server).answers([ask("q")])
        at(server, api_key="sk-for-this-server").answers([ask("r")])
        bare = Request(
            "gpt-4o-mini", ({"role": "user", "content": "s"},), {"max_tokens": 40}
        )  # whose provider litellm guesses
        at(server).answers([bare])
    assert sent == ["Bearer none", "Bearer sk-for-this-server", "Bearer none"]


@pytest.mark.parametrize("key", [None, ""])
def test_without_any_key_nothing_is_sent_and_the_run_ends(monkeypatch, key):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(
        RunError,
        match=r"there is no key for it. Set the variable that litellm reads .*OPENAI_API_KEY",
    ) as raised:
        asyncio.run(
            Client(Endpoint()).ask(
                Request(
                    "openai/gpt-5-mini", ({"role": "user", "content": "q"},), {"max_tokens": 9}
                ),
                print,
            )
        )
    assert raised.value.code == "RK651"


@pytest.mark.parametrize("model", ["openai/name-of-mine", "hosted_vllm/name-of-mine"])
def test_litellm_is_told_of_a_model_that_it_does_not_know_and_asks_the_same(at, model):
    sampling = {
        "max_tokens": 40,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 3,
        "response_format": {"type": "json_object"},
        "logprobs": True,
    }
    bodies = []

    def note(call):
        bodies.append(call.body)
        return text("x")

    messages = ({"role": "system", "content": "s"}, {"role": "user", "content": "q"})

    async def ask_untold(url):
        await litellm().acompletion(
            model=model, messages=list(messages), api_base=f"{url}/v1", api_key="none", **sampling
        )
        await litellm().close_litellm_async_clients()
        litellm().in_memory_llm_clients_cache.flush_cache()

    with serving(note) as server:
        asyncio.run(ask_untold(server.url))
        assert model not in litellm().model_cost
        at(server).answers([Request(model, messages, sampling)])
    assert model in litellm().model_cost
    assert bodies[0] == bodies[1]


def test_a_credential_never_shows_in_what_is_told(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-of-the-environment")
    endpoint = Endpoint("http://me:p%40ssword@host/v1", headers={"X-Auth": "Bearer hf-of-a-header"})
    told = endpoint.clean(
        "sk-of-the-environment, hf-of-a-header, p@ssword and p%40ssword are wrong"
    )
    assert told == "***, ***, *** and *** are wrong"


def test_a_message_is_cut_after_its_credentials_are_taken_out(at):
    key = "sk-" + "0123456789" * 4
    with serving(always(error(400, "x" * 280 + f" {key} is no key"))) as server:
        answers = at(server, api_key=key).answers([ask("q")])
    assert key[:10] not in answers["q"].reason


def test_the_clock_of_calls_stands_still_while_nobody_waits_for_an_answer(at):
    """Else a look at the figures between two answers would fill buckets in advance, and stall what
    comes next for as long.
    """
    with serving(echo) as server:
        made = at(server)
        for _ in made.asker.answers(map(ask, QUESTIONS[:3])):
            first = made.asker._loop.time()
            sum(range(1_000_000))
            assert made.asker._loop.time() == first


def test_what_is_on_its_way_when_a_run_ends_is_kept_and_not_paid_again(at):
    def policy(call):
        return error(401, "no such key") if "question 7" in call.prompt else text("x", delay=0.1)

    with serving(policy) as server:
        made = at(server)
        heard = []
        with pytest.raises(RunError, match="refused the credentials"):
            for _, answer in made.asker.answers(map(ask, QUESTIONS[:9])):
                heard.append(answer)
        assert len(heard) == len(made.store) == server.ledger.billed >= 7
        assert made.budget.spent_usd == pytest.approx(server.ledger.usd)
        server.policy = echo
        assert len(at(server).answers(map(ask, QUESTIONS))) == len(QUESTIONS)
    assert server.ledger.paid_twice == []


def test_who_cannot_go_on_still_gets_what_is_on_its_way_kept(at):
    with serving(lambda call: text("x", delay=0.1)) as server:
        made = at(server)
        stream = made.asker.answers(map(ask, QUESTIONS))
        next(stream)
        with pytest.raises(RunError, match="it can be fooled"):
            stream.throw(RunError("it can be fooled"))
        assert len(made.store) == server.ledger.billed == made.budget.calls >= 7
        assert made.budget.spent_usd == pytest.approx(server.ledger.usd)


@pytest.mark.parametrize(("model", "kind"), [("ollama/own", "cut"), ("openai/own", None)])
def test_an_answer_that_fills_its_room_is_cut_where_litellm_does_not_tell(model, kind):
    message = SimpleNamespace(content='{"1": 3')
    choices = [SimpleNamespace(message=message, finish_reason="stop", logprobs=None)]
    response = SimpleNamespace(
        usage=SimpleNamespace(prompt_tokens=9, completion_tokens=20), choices=choices, model=model
    )
    answer = Client(Endpoint())._read(Request(model, (), {"max_tokens": 20}), response, 0.1)
    assert getattr(answer, "kind", None) == kind


# Money
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.37, 0.9])
def test_a_budget_is_never_passed_and_nearly_used(at, share):
    with serving(echo, ledger=Ledger()) as server:
        whole = sum(PRICE.cost(Usage(3, 0, 3)) for _ in QUESTIONS)
        made = at(server, spending={"max_cost_usd": share * whole + 0.0005})
        answers = made.answers(map(ask, QUESTIONS))
    unpaid = [answer for answer in answers.values() if isinstance(answer, Failure)]
    assert len(answers) == len(QUESTIONS)
    assert {failure.kind for failure in unpaid} <= {"unpaid"}
    assert server.ledger.usd <= share * whole + 0.0005
    assert made.budget.spent_usd == pytest.approx(server.ledger.usd)


def test_who_waits_for_the_budget_hears_that_it_is_spent():
    """The last call in flight ends at its full price between one caller's refusal and its wait,
    while another one asks anew.
    """

    async def story(attempts):
        in_flight, waits, comes = (Call(ask(question), 1, None) for question in "abc")
        assert await attempts._reserve(in_flight)
        first = asyncio.ensure_future(attempts._reserve(waits))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(lambda: attempts._end(in_flight, paid=True))
        async with asyncio.timeout(5):
            return await asyncio.gather(first, attempts._reserve(comes))

    with CallStore(None) as store:
        budget = Budget(store, Spending("test", None, 1))
        attempts = Attempts(
            Client(Endpoint()), store, budget, None, Pace(8), RetryPolicy(), None, Random(0)
        )
        assert asyncio.run(story(attempts)) == [UNPAID, UNPAID]


def test_who_waits_for_the_budget_hears_of_it_where_the_next_one_finds_its_answer(tmp_path):
    """The last call in flight fails for nothing, while another process has kept the answer that the
    next one wants.
    """

    async def story(attempts):
        in_flight, waits, comes = (Call(ask(question), 1, 0.9) for question in "abc")
        assert await attempts._reserve(in_flight) is True
        with CallStore(tmp_path / "calls.sqlite") as another:
            another.keep(comes.request, Reply("C", "test-model", Usage(1, 0, 1, 0), 0.1, 1.0, None))
        first = asyncio.ensure_future(attempts._reserve(waits))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(lambda: attempts._end(in_flight, paid=False))
        async with asyncio.timeout(5):
            return await asyncio.gather(attempts._reserve(comes), first)

    with CallStore(tmp_path / "calls.sqlite") as store:
        budget = Budget(store, Spending("test", 1.0, None))
        attempts = Attempts(
            Client(Endpoint()), store, budget, PRICE, Pace(8), RetryPolicy(), None, Random(0)
        )
        found, booked = asyncio.run(story(attempts))
    assert (found.text, booked) == ("C", True)


def test_a_spent_budget_still_answers_what_was_paid_before(at):
    with serving(echo) as server:
        made = at(server, spending={"max_calls": 10})
        first = made.answers(map(ask, QUESTIONS))
        paid = [question for question, answer in first.items() if isinstance(answer, Reply)]
        again = at(server, spending={"max_calls": 10}).answers(map(ask, QUESTIONS))
    assert len(paid) == 10
    assert server.ledger.arrived == 10
    assert {question for question, answer in again.items() if isinstance(answer, Reply)} == set(
        paid
    )
    assert made.budget.exhausted


def test_calls_that_nobody_waits_for_any_more_are_booked_as_paid(at):
    with serving(in_turn([echo], Answer("x", hang=True))) as server:
        made = at(server, concurrency=4)
        stream = made.asker.answers(map(ask, QUESTIONS))
        _, first = next(stream)
        calls = made.budget.calls
        stream.close()
    assert made.budget.reserved_usd == 0
    assert made.budget.spent_usd >= server.ledger.usd
    assert made.budget.calls == calls
    assert first.text == QUESTIONS[0].upper()


def test_without_a_price_calls_can_still_be_counted(at):
    with serving(echo) as server:
        made = at(server, priced=False, spending={"max_calls": 3})
        answers = made.answers(map(ask, QUESTIONS[:5]))
    assert (
        sorted(type(answer).__name__ for answer in answers.values())
        == ["Failure"] * 2 + ["Reply"] * 3
    )
    assert all(answer.cost_usd is None for answer in answers.values())


def test_figures_show_calls_and_money(at):
    with serving(echo) as server:
        made = at(server)
        made.answers(map(ask, QUESTIONS))
    assert made.asker.calls == len(QUESTIONS)
    assert made.asker.figures["usd"] == pytest.approx(server.ledger.usd, abs=1e-4)
    assert made.asker.figures["calls/s"] > 0
