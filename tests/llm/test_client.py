"""The client against the real test server: replies, cache, limits, credentials and cost."""

from __future__ import annotations

import asyncio
import json

import pytest

from helpers.llm_requests import PRICE, ask
from recipekit.errors import RunError
from recipekit.llm import litellm_call
from recipekit.llm.completion import (
    Reply,
    Request,
    RequestFailed,
    TokenLogprob,
    Usage,
)
from recipekit.llm.endpoint import Endpoint
from recipekit.llm.litellm_call import call_litellm
from recipekit.llm.litellm_import import litellm
from servers.openai_server import Answer, Ledger, always, error, in_turn, serving, text

QUESTIONS = [f"question {number}" for number in range(60)]


def echo(call):
    return text(call.prompt.upper())


def test_every_request_gets_its_reply_and_a_rerun_makes_no_call(at):
    with serving(echo) as server:
        first = at(server).complete(map(ask, QUESTIONS))
        again = at(server).complete(map(ask, QUESTIONS))
    assert {question: reply.text for question, reply in first.items()} == {
        question: question.upper() for question in QUESTIONS
    }
    assert [reply.text for reply in again.values()] == [reply.text for reply in first.values()]
    assert not any(reply.from_cache for reply in first.values())
    assert all(reply.from_cache for reply in again.values())
    assert server.ledger.arrived == len(QUESTIONS)
    assert server.ledger.paid_twice == []


def test_a_reply_that_another_process_paid_for_meanwhile_is_not_paid_again(at):
    with serving(lambda call: text("x", delay=0.05)) as server:
        one, other = at(server, concurrency=1), at(server)

        async def story():
            one.client = one.make()
            first = asyncio.create_task(one.client.complete(ask("first")))
            waiting = asyncio.create_task(one.client.complete(ask("q")))  # not in the cache yet
            await asyncio.sleep(0)
            other.cache.keep(ask("q"), Reply("kept", "m", Usage(1, 0, 1, 0), 0.0, 0.1))
            replies = await asyncio.gather(first, waiting)
            await one.client.aclose()
            return replies[1]

        reply = asyncio.run(story())
    assert (reply.text, reply.from_cache) == ("kept", True)
    assert (one.client.calls, one.budget.calls, server.ledger.arrived) == (1, 1, 1)


def test_a_reply_reports_model_tokens_logprobs_and_cost(at):
    answer = text(
        "yes", model="gpt-5-nano-2025-08-07", cached_tokens=2, reasoning_tokens=7, logprob=-0.25
    )
    question = "is it so, or is it not?"
    with serving(always(answer)) as server:
        reply = at(server).complete([ask(question, logprobs=True)])[question]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model) == ("yes", "gpt-5-nano-2025-08-07")
    assert reply.usage == Usage(6, 2, 8, 7)
    assert reply.logprobs == (TokenLogprob("yes", -0.25),)
    assert reply.cost_usd == pytest.approx(4e-6 + 2e-7 + 32e-6)
    assert reply.cost_usd == pytest.approx(server.ledger.usd)


def test_the_cost_of_a_model_that_litellm_knows_is_litellms():
    request = Request("openai/gpt-4o-mini", ask("q").messages, {"max_tokens": 40})
    with serving(echo) as server:
        answer = asyncio.run(call_and_close(Endpoint(f"{server.url}/v1"), request, True))
    usage = answer.usage
    assert answer.cost_usd == pytest.approx(
        usage.prompt * 0.15e-6 + usage.completion * 0.6e-6, rel=1e-6
    )


def test_litellm_computes_no_cost_and_writes_no_log_entry(monkeypatch):
    called = []
    logging = litellm().litellm_core_utils.litellm_logging.Logging
    for name in ("_async_success_handler_body", "_build_standard_logging_payload"):
        monkeypatch.setattr(logging, name, lambda *args, name=name, **kwargs: called.append(name))
    with serving(echo) as server:
        answer = asyncio.run(call_and_close(Endpoint(f"{server.url}/v1"), ask("q")))
    assert answer.cost_usd is None
    assert not called


async def call_and_close(endpoint, request, compute_cost=False):
    answer = await call_litellm(endpoint, request, compute_cost=compute_cost)
    await litellm_call.close_connections()
    return answer


def test_the_response_format_reaches_the_endpoint(at):
    schema = {
        "type": "json_schema",
        "json_schema": {
            "name": "verdict",
            "strict": True,
            "schema": {"type": "object", "properties": {}},
        },
    }
    with serving(lambda call: text(json.dumps(call.body["response_format"]))) as server:
        replies = at(server).complete([ask("q", response_format=schema, temperature=0.0, seed=3)])
    assert json.loads(replies["q"].text) == schema


def test_calls_in_flight_never_exceed_the_concurrency(at):
    with serving(lambda call: text("x", delay=0.005)) as server:
        at(server, concurrency=5).complete(map(ask, QUESTIONS))
    assert server.ledger.most_in_flight == 5


def test_identical_requests_at_the_same_time_are_paid_for_once(at):
    with serving(lambda call: text("x", delay=0.01)) as server:
        made = at(server)

        async def story():
            client = made.make()
            replies = await asyncio.gather(*(client.complete(ask("same")) for _ in range(6)))
            await client.aclose()
            return replies

        replies = asyncio.run(story())
    assert sum(not reply.from_cache for reply in replies) == 1
    assert server.ledger.arrived == 1


def test_no_more_calls_start_in_a_minute_than_the_recipe_allows(at):
    with serving(echo) as server:
        at(server, requests_per_minute=1200).complete(map(ask, QUESTIONS[:9]))
    first, *_, last = server.ledger.arrivals
    assert last - first >= 7.5 / 20  # one call every 50 ms; the last gap may be slightly short


@pytest.mark.parametrize(("model", "kind"), [("ollama/own", "cut"), ("openai/own", None)])
def test_a_reply_that_fills_its_room_is_cut_where_litellm_does_not_say_so(response, model, kind):
    request = Request(model, (), {"max_tokens": 20})
    answer = litellm_call._read(Endpoint(), request, response('{"1": 3', 20), 0.1)
    assert getattr(answer.outcome, "kind", None) == kind


# Credentials
# -------------------------------------------------------------------------------------------------


def test_the_openai_key_of_the_environment_is_sent_to_openai_only(at, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-account")
    sent = []

    def note(call):
        sent.append(call.headers["authorization"])
        return text("x")

    with serving(note) as server:
        at(server).complete([ask("q")])
        at(server, api_key="sk-for-this-server").complete([ask("r")])
        # A model without a provider, which litellm infers.
        bare = Request("gpt-4o-mini", ({"role": "user", "content": "s"},), {"max_tokens": 40})
        at(server).complete([bare])
    assert sent == ["Bearer none", "Bearer sk-for-this-server", "Bearer none"]


@pytest.mark.parametrize("key", [None, ""])
def test_without_any_key_nothing_is_sent_and_the_run_ends(monkeypatch, key):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    request = Request("openai/gpt-5-mini", ({"role": "user", "content": "q"},), {"max_tokens": 9})
    wanted = r"there is no key for it. Set the variable that litellm reads .*OPENAI_API_KEY"
    with pytest.raises(RunError, match=wanted) as raised:
        asyncio.run(call_litellm(Endpoint(), request))
    assert raised.value.code == "RK651"


def test_credentials_are_masked_in_messages(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-of-the-environment")
    endpoint = Endpoint("http://me:p%40ssword@host/v1", headers={"X-Auth": "Bearer hf-of-a-header"})
    masked = endpoint.mask_secrets(
        "sk-of-the-environment, hf-of-a-header, p@ssword and p%40ssword are wrong"
    )
    assert masked == "***, ***, *** and *** are wrong"


def test_a_message_is_cut_after_its_credentials_are_masked(at):
    key = "sk-" + "0123456789" * 4
    with serving(always(error(400, "x" * 280 + f" {key} is not a key"))) as server:
        outcomes = at(server, api_key=key).complete([ask("q")])
    assert key[:10] not in outcomes["q"].reason


@pytest.mark.parametrize("model", ["openai/name-of-mine", "hosted_vllm/name-of-mine"])
def test_a_request_is_the_one_that_litellm_makes_without_our_record(at, model):
    parameters = {
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

    async def call_without_record(url):
        await litellm().acompletion(
            model=model, messages=list(messages), api_base=f"{url}/v1", api_key="none", **parameters
        )
        await litellm_call.close_connections()

    with serving(note) as server:
        asyncio.run(call_without_record(server.url))
        at(server).complete([Request(model, messages, parameters)])
    assert bodies[0] == bodies[1]


# Money
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.37, 0.9])
def test_a_budget_is_never_exceeded(at, share):
    with serving(echo, ledger=Ledger()) as server:
        whole = sum(PRICE.cost(Usage(3, 0, 3)) for _ in QUESTIONS)
        limit = share * whole + 0.0005
        made = at(server, spending={"max_cost_usd": limit})
        outcomes = made.complete(map(ask, QUESTIONS))
    unpaid = [one for one in outcomes.values() if isinstance(one, RequestFailed)]
    assert len(outcomes) == len(QUESTIONS)
    assert {failure.kind for failure in unpaid} <= {"unpaid"}
    assert server.ledger.usd <= limit
    assert made.budget.charged_usd == pytest.approx(server.ledger.usd)


def test_a_budget_for_one_call_at_a_time_is_used_to_the_end(at):
    """Each call waits for the one before to settle at less than its worst case."""
    worst_case = PRICE.worst_case(500, 40)
    with serving(echo) as server:
        made = at(server, spending={"max_cost_usd": worst_case})
        outcomes = made.complete(map(ask, QUESTIONS[:10]))
    assert sum(isinstance(one, Reply) for one in outcomes.values()) == 10
    assert server.ledger.most_in_flight == 1


def test_a_call_that_waits_for_the_budget_is_refused_once_no_call_in_flight_can_free_any(at):
    with serving(lambda call: text("x", delay=0.05)) as server:
        made = at(server, spending={"max_calls": 1})
        outcomes = made.complete(map(ask, QUESTIONS[:3]))
    kinds = sorted(getattr(one, "kind", "reply") for one in outcomes.values())
    assert kinds == ["reply", "unpaid", "unpaid"]


def test_a_spent_budget_still_gives_replies_from_the_cache(at):
    with serving(echo) as server:
        first = at(server, spending={"max_calls": 10}).complete(map(ask, QUESTIONS))
        again = at(server, spending={"max_calls": 10}).complete(map(ask, QUESTIONS))
    paid = {question for question, one in first.items() if isinstance(one, Reply)}
    assert len(paid) == server.ledger.arrived == 10
    assert {question for question, one in again.items() if isinstance(one, Reply)} == paid


def test_calls_that_are_cancelled_stay_charged(at):
    with serving(in_turn([echo], Answer("x", hang=True))) as server:
        made = at(server, concurrency=4)

        async def story():
            client = made.make()
            tasks = [asyncio.create_task(client.complete(ask(q))) for q in QUESTIONS]
            await tasks[0]
            while server.ledger.arrived < 5:
                await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.aclose()

        asyncio.run(story())
    assert made.budget.in_flight == 0
    assert made.budget.calls == 5
    assert made.budget.charged_usd >= server.ledger.usd


def test_without_a_price_calls_can_still_be_limited(at):
    with serving(echo) as server:
        outcomes = at(server, priced=False, spending={"max_calls": 3}).complete(
            map(ask, QUESTIONS[:5])
        )
    names = sorted(type(one).__name__ for one in outcomes.values())
    assert names == ["Reply"] * 3 + ["RequestFailed"] * 2
    assert all(one.cost_usd is None for one in outcomes.values())


def test_the_client_counts_calls_and_money(at):
    with serving(echo) as server:
        made = at(server)
        made.complete(map(ask, QUESTIONS))
    assert made.client.calls == len(QUESTIONS)
    assert made.client.usd == pytest.approx(server.ledger.usd)
