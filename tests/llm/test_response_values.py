"""Responses of servers that write a good reply, or its token counts, in an unusual way."""

import json

import pytest

from helpers.llm_requests import ask
from recipekit.llm.completion import RequestFailed
from servers.openai_server import Answer, always, serving

# `litellm_import` ignores this warning of the OpenAI client; pytest sets its own filters.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

GOOD = {"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45}


def response(content, usage=GOOD, **message):
    """A chat completion; `usage=None` is written as null, `...` leaves it out."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
    }
    if usage is not ...:
        body["usage"] = usage
    return Answer(body=json.dumps(body).encode())


PARTS = {
    "text parts": [{"type": "text", "text": "yes, "}, {"type": "text", "text": "no"}],
    "strings": ["yes, ", "no"],
    "one part": {"type": "text", "text": "yes, no"},
    "output_text": [{"type": "output_text", "text": "yes, no", "annotations": []}],
    "untyped": [{"text": "yes, no"}],
    "after thinking": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "never"}]},
        {"type": "text", "text": "yes, no"},
    ],
    "after reasoning": [
        {"type": "reasoning", "text": "never"},
        {"type": "text", "text": "yes, no"},
    ],
}


@pytest.mark.parametrize("content", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m"])
def test_content_in_parts_is_joined(at, content, model):
    request = ask("q")
    request = type(request)(model, request.messages, request.parameters)
    with serving(always(response(content))) as server:
        reply = at(server, api_key="k").complete([request])["q"]
    assert reply.text == "yes, no"
    assert server.ledger.arrived == 1


USAGES = {
    "null": None,
    "missing": ...,
    "empty": {},
    "a list": [1, 2],
    "a string": "45",
    "null counts": {"prompt_tokens": None, "completion_tokens": None},
    "words": {"prompt_tokens": "many", "completion_tokens": "few"},
    "nested counts": {"prompt_tokens": {"total": 40}, "completion_tokens": {"total": 5}},
    "another nesting": {"usage": GOOD},
    "other names": {"input_tokens": 40, "output_tokens": 5},
}
COUNTED = {
    "strings": {"prompt_tokens": "40", "completion_tokens": "5", "total_tokens": "45"},
    "floats": {"prompt_tokens": 40.0, "completion_tokens": 4.5, "total_tokens": 44.5},
    "null details": {**GOOD, "prompt_tokens_details": None, "completion_tokens_details": None},
    "odd details": {
        **GOOD,
        "prompt_tokens_details": {"cached_tokens": "none"},
        "completion_tokens_details": {"reasoning_tokens": []},
    },
    "details that are numbers": {**GOOD, "prompt_tokens_details": 5},
}


@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
def test_a_reply_without_a_usable_count_is_kept_and_charged_at_its_worst_case(at, usage):
    with serving(always(response("yes", usage))) as server:
        made = at(server)
        reply = made.complete([ask("q")])["q"]
    assert reply.text == "yes"
    assert server.ledger.arrived == 1
    assert reply.cost_usd == made.budget.charged_usd > 40 * 4e-6
    assert len(made.cache) == 1


@pytest.mark.parametrize("usage", COUNTED.values(), ids=COUNTED)
def test_counts_are_read_in_any_form_of_a_number(at, usage):
    with serving(always(response("yes", usage))) as server:
        reply = at(server).complete([ask("q")])["q"]
    assert (reply.usage.prompt, reply.usage.completion) == (40, 5)
    assert (reply.usage.cached, reply.usage.reasoning) == (0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, {"reasoning_content": '{"1": 3}'}),
        ("", {"reasoning": '{"1": 3}'}),
        ([{"type": "thinking", "thinking": '{"1": 3}'}], {}),
        (
            None,
            {
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "grade", "arguments": '{"1": 3}'},
                    }
                ]
            },
        ),
    ],
)
def test_reasoning_and_tool_calls_are_not_a_reply(at, content, message):
    with serving(always(response(content, **message))) as server:
        outcome = at(server).complete([ask("q")])["q"]
    assert isinstance(outcome, RequestFailed)
    assert outcome.kind in ("empty", "unanswered")
