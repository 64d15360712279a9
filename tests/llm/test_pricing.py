"""The cost of calls, and the facts about models in litellm's table."""

import pytest
from pydantic import ValidationError

from recipekit.llm import reasoning
from recipekit.llm.completion import Usage
from recipekit.llm.pricing import TokenPrice, model_facts, price_of
from recipekit.llm.reasoning import ReasoningRequest, reasons_by_default, requested_reasoning

MILLION = Usage(1_000_000, 0, 1_000_000, 0)


def test_a_price_comes_from_litellms_table():
    price = price_of("openai/gpt-4o-mini")
    assert price.cost(MILLION) == pytest.approx(0.15 + 0.60)
    assert price.cost(Usage(1_000_000, 1_000_000, 0, 0)) == pytest.approx(0.075)


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai/GPT-4o-Mini", "openai/gpt-4o-mini"),
        ("anthropic/claude-haiku-4-5", "claude-haiku-4-5"),
        ("gemini/gemini-2.5-flash-001", "gemini/gemini-2.5-flash"),
    ],
)
def test_a_model_is_found_by_every_name_that_litellm_knows(model, same_as):
    assert price_of(model).cost(MILLION) == price_of(same_as).cost(MILLION)


@pytest.mark.parametrize(
    "model",
    [
        "hosted_vllm/my-model",
        "openai/my-own-model",
        "hosted_vllm/gpt-4o-mini",  # another server, not OpenAI
        "ollama/llama3-of-mine",  # which litellm would ask a local server about
        "no-such-model",
    ],
)
def test_no_price_is_invented(model):
    assert price_of(model) is None
    assert model_facts(model) == {}


def test_the_declared_price_takes_precedence_and_is_per_million_tokens():
    price = price_of("openai/gpt-4o-mini", TokenPrice(input=2, output=8))
    assert price.cost(MILLION) == 10
    assert price.cost(Usage(1_000_000, 1_000_000, 0, 0)) == 2
    assert price.cost(MILLION, reported=0.1) == 10
    cached = TokenPrice(input=2, output=8, cached_input=0.5)
    assert cached.cost(Usage(1_000_000, 400_000, 0, 0)) == pytest.approx(0.6 * 2 + 0.4 * 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": -1, "output": 1},
        {"input": 1},
        {"input": float("inf"), "output": 1},
        {"in": 1, "output": 1},
    ],
)
def test_a_declared_price_is_validated(wrong):
    with pytest.raises(ValidationError):
        TokenPrice(**wrong)


@pytest.mark.parametrize(
    "price",
    [price_of("gemini/gemini-2.5-pro"), TokenPrice(input=1, output=4, cached_input=3)],
    ids=["tiers", "declared"],
)
def test_no_call_costs_more_than_its_worst_case(price):
    for prompt in (0, 10, 199_999, 200_000, 200_001, 400_000):
        for cached in (0, prompt // 2, prompt):
            cost = price.cost(Usage(prompt, cached, 300, 200))
            assert cost <= price.worst_case(prompt, 300) <= price.worst_case(prompt + 5000, 301)


def test_the_cost_that_litellm_reports_is_used_for_its_own_prices():
    assert price_of("openai/gpt-4o-mini").cost(Usage(10, 0, 1, 0), reported=0.5) == 0.5


def test_facts_of_a_model_come_from_litellms_table():
    assert model_facts("openai/gpt-5-nano")["supports_reasoning"]
    assert model_facts("gpt-4o-mini")["max_input_tokens"] == 128_000


# Reasoning
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("openai/gpt-5-nano", True),
        ("openai/o3", True),
        ("openai/gpt-4o-mini", False),
        ("anthropic/claude-haiku-4-5", False),
        ("bedrock/anthropic.claude-haiku-4-5-20251001-v1:0", False),
        ("gemini/gemini-2.5-flash", True),
        ("gemini/gemini-2.5-flash-lite", False),
        ("hosted_vllm/my-model", False),
    ],
)
def test_models_that_reason_on_request_differ_from_those_that_always_do(model, reasons):
    assert reasons_by_default(model) == reasons


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        ({"supports_reasoning": True}, False),
        ({"supports_reasoning": True, "thinking_on_by_default": True}, True),
        ({"supports_reasoning": True, "thinking_always_on": True}, True),
        ({}, False),
    ],
)
def test_the_table_takes_precedence_over_a_models_name(monkeypatch, facts, reasons):
    monkeypatch.setattr(reasoning, "model_facts", lambda model: facts)
    assert reasons_by_default("anthropic/claude-next") == reasons


@pytest.mark.parametrize(
    ("parameters", "request_"),
    [
        ({}, ReasoningRequest()),
        ({"top_p": 0.9}, ReasoningRequest()),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 4000}},
            ReasoningRequest(True, 4000),
        ),
        ({"thinking": {"type": "disabled"}}, ReasoningRequest(False)),
        ({"extra_body": {"reasoning": {"effort": "high"}}}, ReasoningRequest(True)),
        (
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
            ReasoningRequest(False),
        ),
        ({"thinkingConfig": {"thinkingBudget": 0}}, ReasoningRequest(False)),
    ],
)
def test_reasoning_is_found_in_nested_parameters(parameters, request_):
    assert requested_reasoning(parameters) == request_
