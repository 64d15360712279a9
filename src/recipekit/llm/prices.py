"""What a call costs: prices per token, from the recipe or from the table that litellm brings along.

The table is read from litellm's installed files: nothing is fetched, and litellm itself is not
imported. What is paid beside the standard price is left out: batch, flex, priority and off-peak
rates, regional surcharges, web searches, writing to a prompt cache on request. Where these matter,
give `price:` in the recipe.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from recipekit.llm.calls import Usage

__all__ = ["GivenPrice", "Price", "known_of", "price_of", "reasons_unasked"]

TABLE = "model_prices_and_context_window_backup.json"
MILLION = 1_000_000
KEYS = {
    "input": "input_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
}
WHEN_ASKED = ("claude", "gemini-2.5-flash-lite")
"""Models that reason only when they are asked to, where their row says nothing else; of OpenAI's it
says so.
"""

Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class GivenPrice(BaseModel):
    """What a model costs, where litellm does not know it or you pay something else."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    input: Usd
    """USD per million tokens in."""
    output: Usd
    """USD per million tokens out, reasoning included."""
    cached: Usd | None = None
    """USD per million tokens in that the endpoint reads from its own prompt cache; by default as
    `input`.
    """


@dataclass(frozen=True)
class Price:
    """USD per token."""

    input: float
    cached: float
    output: float
    reasoning: float
    """Of the tokens out, those that are reasoning; the same as `output` where the table has no
    other price.
    """
    above: tuple[tuple[int, Price], ...] = ()
    """Prices of whole calls with more than so many tokens in, by rising number."""

    def cost(self, usage: Usage) -> float:
        """USD of one call.

        (prompt - cached) · input + cached · cached + (completion - reasoning) · output + reasoning
        · reasoning.
        """
        rate = self.at(usage.prompt)
        cached, reasoning = min(usage.cached, usage.prompt), min(usage.reasoning, usage.completion)
        return (
            (usage.prompt - cached) * rate.input
            + cached * rate.cached
            + (usage.completion - reasoning) * rate.output
            + reasoning * rate.reasoning
        )

    def most(self, prompt_tokens: int, max_tokens: int) -> float:
        """The most that a call may cost in USD, with at most so many tokens in and out, whatever is
        cached or reasoned.
        """
        reachable = [self, *(price for tokens, price in self.above if prompt_tokens > tokens)]
        dearest_in = max(max(price.input, price.cached) for price in reachable)
        dearest_out = max(max(price.output, price.reasoning) for price in reachable)
        return prompt_tokens * dearest_in + max_tokens * dearest_out

    def at(self, prompt_tokens: int) -> Price:
        """The price of a call with so many tokens in."""
        return next(
            (price for tokens, price in reversed(self.above) if prompt_tokens > tokens), self
        )


def price_of(model: str, given: GivenPrice | None = None) -> Price | None:
    """The price of a model, by its litellm name, with or without its provider; None where it is not
    known.

    Args:
        model: `openai/gpt-5-nano`, `gpt-5-nano`, `hosted_vllm/my-model`, ...
        given: The recipe's own price, which always stands.
    """
    if given is not None:
        cached = given.input if given.cached is None else given.cached
        return Price(
            given.input / MILLION, cached / MILLION, given.output / MILLION, given.output / MILLION
        )
    return next((price for entry in _entries(model) if (price := _price(entry)) is not None), None)


def known_of(model: str) -> Mapping[str, Any]:
    """What litellm's table says of a model beside its price (`supports_response_schema`,
    `supports_reasoning`); {} if it has none.
    """
    return next(_entries(model), {})


def reasons_unasked(model: str) -> bool:
    """Whether a model reasons before it answers though no effort was asked for, as far as the table
    tells.
    """
    known = known_of(model)
    if known.get("thinking_always_on") or known.get("thinking_on_by_default"):
        return True
    when_asked = known.get("default_reasoning_effort") == "none" or any(
        name in model.lower() for name in WHEN_ASKED
    )
    return bool(known.get("supports_reasoning")) and not when_asked


# litellm's table
# -----------------------------------------------------------------------------------------------------


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    table: dict[str, Mapping[str, Any]] = json.loads(
        (Path(spec.origin).parent / TABLE).read_bytes()
    )
    table.pop("sample_spec", None)
    return _with_aliases(table)


def _with_aliases(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The table with every further name of a model as a row of its own: a row may name others
    (`aliases`), or the one it stands for.
    """
    rows = {name: row for name, row in table.items() if "alias_of" not in row}
    for row in list(rows.values()):
        for alias in row.get("aliases") or ():
            rows.setdefault(alias, row)
    pointing = {name: row["alias_of"] for name, row in table.items() if "alias_of" in row}
    return {**rows, **{name: rows[owner] for name, owner in pointing.items() if owner in rows}}


@cache
def _lower() -> Mapping[str, str]:
    return {name.lower(): name for name in _table()}


def _entries(model: str) -> Iterator[Mapping[str, Any]]:
    """What the table says of a model, by the names under which litellm looks for it, in its order."""
    provider, slash, name = model.partition("/")
    if not slash:
        provider, name = "", model
    for known in dict.fromkeys(
        (model, name, _versionless(model, provider), _versionless(name, provider))
    ):
        key = known if known in _table() else _lower().get(known.lower())
        if key is not None and (key.lower() == model.lower() or _sold_by(provider, _table()[key])):
            yield _table()[key]


def _versionless(name: str, provider: str) -> str:
    if provider in ("gemini", "vertex_ai", "databricks"):
        return re.sub(r"-\d+$", "", name)
    if "ft:" in name:  # ft:gpt-4o-2024-08-06:organization:name:id
        return re.sub(r"(:[^:]*){3}$", "", name)
    return re.sub(r"-\d{4}-\d{2}-\d{2}$", "", name)


def _sold_by(provider: str, entry: Mapping[str, Any]) -> bool:
    """Whether an entry found without the provider's name is that provider's: the same model costs
    elsewhere what it costs there.
    """
    seller = str(entry.get("litellm_provider", ""))
    if provider in ("vertex_ai", "bedrock", "fireworks_ai"):
        return seller.startswith(provider)
    return provider in ("", "litellm_proxy", seller)


def _price(entry: Mapping[str, Any]) -> Price | None:
    """An entry's standard price per token.

    None where it is sold by other units, or by some of them as well.
    """
    if entry.get("input_cost_per_request") or entry.get("input_cost_per_second"):
        return None
    if tiers := entry.get("tiered_pricing"):
        prices = [
            (int(tier["range"][0]), price)
            for tier in tiers
            if (price := _flat(tier, "", _flat(entry, "", None))) is not None
        ]
    else:
        base = _flat(entry, "", None)
        inclusive = (
            entry.get("litellm_provider") == "xai"
        )  # the dearer price begins at the number itself
        prices = [] if base is None else [(0, base)]
        prices += [
            (tokens - inclusive, price)
            for tokens, tier in _above(entry)
            if (price := _flat(entry, tier, base)) is not None
        ]
    if not prices:
        return None
    (_, first), *rest = sorted(prices, key=lambda pair: pair[0])
    return replace(first, above=tuple(rest))


def _flat(entry: Mapping[str, Any], tier: str, base: Price | None) -> Price | None:
    """The price in an entry's keys that end with a tier's name; what the tier leaves out is as in
    `base`.
    """
    rate = {
        name: float(value)
        for name, key in KEYS.items()
        if (value := entry.get(key + tier)) is not None
    }
    if base is not None:
        rate = {"input": base.input, "output": base.output} | rate
    if "input" not in rate or "output" not in rate:
        return None
    return Price(
        rate["input"],
        rate.get("cached", rate["input"]),
        rate["output"],
        rate.get("reasoning", rate["output"]),
    )


def _above(entry: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """The tiers that an entry names: (tokens in, how its keys end)."""
    for key in entry:
        if found := re.fullmatch(r"input_cost_per_token(_above_(\d+)(k?)_tokens)", key):
            yield int(found[2]) * (1000 if found[3] else 1), found[1]
