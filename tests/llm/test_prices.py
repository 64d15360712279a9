import subprocess
import sys

import pytest
from pydantic import ValidationError

from recipekit.llm.calls import Usage
from recipekit.llm.prices import (
    GivenPrice,
    Price,
    _with_aliases,
    known_of,
    price_of,
    reasons_unasked,
)

MILLION = 1_000_000


def test_a_price_from_litellms_table():
    price = price_of("openai/gpt-4o-mini")
    assert price is not None
    assert (price.input * MILLION, price.cached * MILLION, price.output * MILLION) == pytest.approx(
        (0.15, 0.075, 0.60)
    )


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai/GPT-4o-Mini", "openai/gpt-4o-mini"),
        ("anthropic/claude-haiku-4-5", "claude-haiku-4-5"),
        ("ft:gpt-4o-mini-2024-07-18:my-org:judge:abc", "ft:gpt-4o-mini-2024-07-18"),
        ("openai/gpt-5-nano-2031-01-01", "gpt-5-nano"),
        ("gemini/gemini-2.5-flash-001", "gemini/gemini-2.5-flash"),
    ],
)
def test_a_model_is_found_by_any_name_that_litellm_finds_it_by(model, same_as):
    assert price_of(model) == price_of(same_as) is not None


@pytest.mark.parametrize(
    "model",
    ["hosted_vllm/my-model", "openai/my-own-model", "hosted_vllm/gpt-4o-mini", "no-such-model"],
)
def test_no_price_is_invented(model):
    """`hosted_vllm/gpt-4o-mini` is somebody's own server.

    OpenAI's price for that name is not theirs.
    """
    assert price_of(model) is None


def test_what_else_the_table_tells_of_a_model():
    assert known_of("openai/gpt-5-nano")["supports_reasoning"]
    assert known_of("gpt-4o-mini")["max_input_tokens"] == 128_000
    assert known_of("hosted_vllm/my-model") == {}


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
def test_models_that_reason_only_when_asked_are_told_from_those_that_always_do(model, reasons):
    assert reasons_unasked(model) == reasons


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ({"supports_reasoning": True}, False),
        ({"supports_reasoning": True, "thinking_on_by_default": True}, True),
        ({"supports_reasoning": True, "thinking_always_on": True}, True),
        ({}, False),
    ],
)
def test_what_the_table_says_of_a_models_thoughts_stands_above_its_name(monkeypatch, row, reasons):
    monkeypatch.setattr(
        "recipekit.llm.prices.known_of", {"anthropic/claude-next": row, "openai/gpt-next": row}.get
    )
    assert reasons_unasked("anthropic/claude-next") == reasons
    monkeypatch.setattr(
        "recipekit.llm.prices.known_of", lambda model: {**row, "default_reasoning_effort": "none"}
    )
    assert reasons_unasked("openai/gpt-next") == reasons


def test_the_recipes_price_stands_and_is_per_million_tokens():
    price = price_of("openai/gpt-4o-mini", GivenPrice(input=2, output=8))
    assert price == Price(2e-6, 2e-6, 8e-6, 8e-6)
    assert price_of("hosted_vllm/my-model", GivenPrice(input=2, output=8, cached=0.5)) == Price(
        2e-6, 0.5e-6, 8e-6, 8e-6
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": -1, "output": 1},
        {"input": 1},
        {"input": float("inf"), "output": 1},
        {"in": 1, "output": 1},
    ],
)
def test_a_given_price_is_checked(wrong):
    with pytest.raises(ValidationError):
        GivenPrice(**wrong)


def test_cached_and_reasoning_tokens_have_prices_of_their_own():
    price = Price(input=1.0, cached=0.1, output=10.0, reasoning=20.0)
    assert (
        price.cost(Usage(prompt=100, cached=40, completion=8, reasoning=3))
        == 60 * 1.0 + 40 * 0.1 + 5 * 10.0 + 3 * 20.0
    )


def test_reasoning_costs_as_output_where_the_table_says_nothing_else():
    price = price_of("openai/gpt-5-nano")
    assert price.cost(Usage(completion=1000, reasoning=900)) == price.cost(Usage(completion=1000))


def test_a_long_prompt_makes_the_whole_call_dearer():
    price = price_of("gemini/gemini-2.5-pro")
    assert price.cost(Usage(prompt=200_000)) == pytest.approx(200_000 * price.input)
    assert price.cost(Usage(prompt=200_001)) == pytest.approx(200_001 * 2 * price.input)


def test_the_most_that_a_call_may_cost_is_never_less_than_what_it_costs():
    price = price_of("gemini/gemini-2.5-pro")
    for prompt in (0, 10, 199_999, 200_000, 200_001, 400_000):
        for cached in (0, prompt // 2, prompt):
            assert (
                price.cost(Usage(prompt, cached, 300, 200))
                <= price.most(prompt, 300)
                <= price.most(prompt + 5000, 301)
            )
    assert Price(1.0, 0.1, 2.0, 9.0).most(10, 5) == 10 * 1.0 + 5 * 9.0


def test_big_providers_models_cost_what_litellm_says():
    """Against litellm's own arithmetic, for a short call and for one that reaches the dearer tiers."""
    litellm = pytest.importorskip("litellm")
    from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper
    from litellm.types.utils import Usage as TheirUsage

    providers = (
        "openai",
        "anthropic",
        "gemini",
        "xai",
        "groq",
        "mistral",
        "dashscope",
        "together_ai",
        "bedrock_converse",
    )
    models = [
        (name, entry["litellm_provider"])
        for name, entry in litellm.model_cost.items()
        if entry.get("litellm_provider") in providers
        and entry.get("mode") == "chat"
        and entry.get("output_cost_per_token")
        if known_of(
            name if "/" in name else f"{entry['litellm_provider']}/{name}"
        )  # what calls have registered is not of its table
    ]
    different = []
    for name, provider in models:
        for usage in (Usage(3000, 1000, 200, 50), Usage(300_000, 100_000, 2000, 500)):
            theirs = TheirUsage(
                prompt_tokens=usage.prompt,
                completion_tokens=usage.completion,
                total_tokens=usage.prompt + usage.completion,
                prompt_tokens_details=PromptTokensDetailsWrapper(cached_tokens=usage.cached),
                completion_tokens_details=CompletionTokensDetailsWrapper(
                    reasoning_tokens=usage.reasoning
                ),
            )
            expected = sum(
                litellm.cost_per_token(
                    model=name, custom_llm_provider=provider, usage_object=theirs
                )
            )
            price = price_of(name if "/" in name else f"{provider}/{name}")
            if price is None or price.cost(usage) != pytest.approx(expected, rel=1e-6):
                different.append((name, expected, price))
    assert len(models) > 300
    assert different == []


def test_a_model_under_another_of_its_names_costs_the_same():
    row, other = (
        {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 2e-6,
            "aliases": ["short", "taken"],
        },
        {"input_cost_per_token": 3e-6},
    )
    table = {
        "whole": row,
        "taken": other,
        "latest": {"alias_of": "whole"},
        "nobody": {"alias_of": "gone"},
    }
    assert _with_aliases(table) == {"whole": row, "taken": other, "short": row, "latest": row}


def test_the_room_imports_neither_litellm_nor_torch():
    code = """
import sys
from recipekit.llm import budget, calls, prices, store, tokens, work
assert prices.price_of("openai/gpt-4o-mini") is not None
assert tokens.counter("openai/gpt-4o-mini").count("hello") == 1
print(sorted({"litellm", "torch", "transformers", "datasets", "accelerate", "httpx"} & set(sys.modules)))
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
