"""How much there is to judge, what it costs and how long it takes, as arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recipekit.llm.calls import Usage
from recipekit.llm.prices import Price

__all__ = ["Work", "work"]


@dataclass(frozen=True)
class Work:
    """Calls to a language model that are to come."""

    pairs: int
    """Distinct (query, passage) pairs; votes do not count twice."""
    calls: int
    tokens_in: int
    tokens_cached: int
    """Of the tokens in, those that the endpoint is expected to read from its own prompt cache."""
    tokens_out: int
    usd: float | None
    """None where the price is not known."""
    hours: float | None
    """At the given rate limits; None where there are none."""


def work(
    *,
    queries: int,
    pairs_per_query: float,
    passages_per_call: int,
    strata: int = 1,
    query_tokens: float,
    passage_tokens: float,
    overhead_tokens: float,
    in_per_passage: float = 0,
    out_per_passage: float = 0,
    out_per_call: float = 0,
    reasoning_per_call: float = 0,
    reference_tokens: float = 0,
    cached_per_call: float = 0,
    votes: float = 1,
    price: Price | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> Work:
    """The work of judging every query's pairs, `passages_per_call` at a time; a query's last call
    may hold fewer.

        calls = votes · Σ min(pairs of the query, ceil(pairs of the query / passages per call) +
        strata - 1) tokens in = calls · (query + reference + overhead) + votes · pairs · (passage +
        in per passage) tokens out = calls · (out per call + reasoning) + votes · pairs · out per
        passage hours = max(calls / requests a minute, (tokens in + out) / tokens a minute) / 60

    Args:
        queries: How many are judged.
        pairs_per_query: On average; rounded up to whole calls.
        passages_per_call: The most passages in a call.
        strata: Kinds of pairs that share no call: each but one may leave another of a query's calls
            partly empty.
        query_tokens: Mean tokens of a query.
        passage_tokens: Mean tokens of a passage, after cutting.
        overhead_tokens: Tokens of a call that are always there: instructions, schema, what frames
            messages.
        in_per_passage: Tokens in that frame one passage (number, fence).
        out_per_passage: Tokens out for one passage.
        out_per_call: Tokens out that frame an answer.
        reasoning_per_call: Reasoning tokens of a call, billed as tokens out.
        reference_tokens: Tokens of the known positive, where the prompt shows it.
        cached_per_call: Of a call's tokens in, those that the endpoint will have in its own prompt
            cache.
        votes: How often everything is asked, on average: repeats for consistency count, too.
        price: USD per token; None where it is not known.
        requests_per_minute: The endpoint's limit.
        tokens_per_minute: The endpoint's limit, tokens in and out together.
    """
    pairs = round(queries * pairs_per_query)
    calls_per_query = min(
        math.ceil(pairs_per_query), math.ceil(pairs_per_query / passages_per_call) + strata - 1
    )
    calls = round(votes * queries * calls_per_query)
    in_per_call = query_tokens + reference_tokens + overhead_tokens
    tokens_in = round(calls * in_per_call + votes * pairs * (passage_tokens + in_per_passage))
    cached = min(round(calls * cached_per_call), tokens_in)
    reasoning = round(calls * reasoning_per_call)
    tokens_out = round(calls * out_per_call + votes * pairs * out_per_passage) + reasoning
    return Work(
        pairs,
        calls,
        tokens_in,
        cached,
        tokens_out,
        None
        if price is None
        else _usd(price, calls, Usage(tokens_in, cached, tokens_out, reasoning)),
        _hours(calls, tokens_in + tokens_out, requests_per_minute, tokens_per_minute),
    )


def _usd(price: Price, calls: int, usage: Usage) -> float:
    """All calls at the price of a mean one: a price per call size is chosen by the call, and not by
    the sum.
    """
    rate = price.at(round(usage.prompt / calls) if calls else 0)
    return Price(rate.input, rate.cached, rate.output, rate.reasoning).cost(usage)


def _hours(
    calls: int, tokens: int, requests_per_minute: float | None, tokens_per_minute: float | None
) -> float | None:
    minutes = [
        amount / limit
        for amount, limit in ((calls, requests_per_minute), (tokens, tokens_per_minute))
        if limit is not None
    ]
    return max(minutes) / 60 if minutes else None
