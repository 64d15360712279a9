"""How many calls and tokens judging takes, what it costs and how long it lasts, as arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recipekit.llm.completion import Usage
from recipekit.llm.pricing import Price

__all__ = ["CallTokens", "Workload", "workload"]


@dataclass(frozen=True)
class CallTokens:
    """Mean tokens of a call and its parts."""

    query: float
    passage: float
    """A passage after cutting."""
    overhead: float
    """Tokens in every call: instructions, schema, fences."""
    in_per_passage: float = 0
    """Tokens around a passage: number, fence."""
    out_per_passage: float = 0
    out_per_call: float = 0
    """Tokens around the grades of a reply."""
    reasoning: float = 0
    """Reasoning tokens of a call, billed as output."""
    reference: float = 0
    """The references, if the prompt shows any."""
    cached: float = 0
    """Input tokens that the endpoint has in its prompt cache."""


@dataclass(frozen=True)
class Workload:
    """Calls to come."""

    pairs: int
    """Distinct (query, passage) pairs; votes do not count twice."""
    calls: int
    tokens_in: int
    tokens_cached: int
    """Input tokens that are expected to come from the endpoint's prompt cache."""
    tokens_out: int
    usd: float | None
    """None if the price is not known."""
    hours: float | None
    """At the given rate limits; None if there are none."""


def workload(
    tokens: CallTokens,
    *,
    queries: int,
    pairs_per_query: float,
    passages_per_call: int,
    strata: int = 1,
    votes: float = 1,
    price: Price | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> Workload:
    """The work of judging every query's pairs, `passages_per_call` at a time.

    calls = votes · Σ min(pairs of the query, ⌈pairs of the query / passages per call⌉ + strata - 1)
    tokens in = calls · (query + reference + overhead) + votes · pairs · (passage + in per passage)
    tokens out = calls · (out per call + reasoning) + votes · pairs · out per passage
    hours = max(calls / requests per minute, (tokens in + out) / tokens per minute) / 60

    Args:
        tokens: Mean tokens.
        queries: How many are judged.
        pairs_per_query: On average; rounded up to whole calls.
        passages_per_call: The largest number of passages in a call.
        strata: Kinds of pairs that share no call. Each may leave a call partly empty.
        votes: How often each pair is judged on average, repeats included.
        price: The model's price; None if unknown.
        requests_per_minute: The endpoint's limit.
        tokens_per_minute: The endpoint's limit, tokens in and out together.
    """
    pairs = round(queries * pairs_per_query)
    calls_per_query = min(
        math.ceil(pairs_per_query), math.ceil(pairs_per_query / passages_per_call) + strata - 1
    )
    calls = round(votes * queries * calls_per_query)
    in_per_call = tokens.query + tokens.reference + tokens.overhead
    in_per_pair = tokens.passage + tokens.in_per_passage
    tokens_in = round(calls * in_per_call + votes * pairs * in_per_pair)
    cached = min(round(calls * tokens.cached), tokens_in)
    reasoning = round(calls * tokens.reasoning)
    answers = round(calls * tokens.out_per_call + votes * pairs * tokens.out_per_passage)
    tokens_out = answers + reasoning
    usd = None
    if price is not None:
        usd = _usd(price, calls, Usage(tokens_in, cached, tokens_out, reasoning))
    minutes = [
        amount / limit
        for amount, limit in (
            (calls, requests_per_minute),
            (tokens_in + tokens_out, tokens_per_minute),
        )
        if limit is not None
    ]
    hours = max(minutes) / 60 if minutes else None
    return Workload(pairs, calls, tokens_in, cached, tokens_out, usd, hours)


def _usd(price: Price, calls: int, total: Usage) -> float:
    """All calls at the price per token of a mean one, since a price may depend on a call's size."""
    if not calls:
        return 0.0
    numbers = (total.prompt, total.cached, total.completion, total.reasoning)
    mean = Usage(*(round(number / calls) for number in numbers))
    input_usd = price.cost(Usage(mean.prompt, mean.cached))
    output_usd = price.cost(mean) - input_usd
    return input_usd * total.prompt / max(mean.prompt, 1) + (
        output_usd * total.completion / max(mean.completion, 1)
    )
