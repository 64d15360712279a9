"""What judging will cost, from a sample of the texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recipekit.component import Sizes
from recipekit.judges.llm_judge.groups import Group, GroupItem
from recipekit.judges.llm_judge.requests import RequestBuilder, ResponseFormat
from recipekit.judges.llm_judge.texts import PromptText, QueryTexts, prompt_text
from recipekit.judges.llm_judge.workload import CallTokens, workload
from recipekit.llm.pricing import Price
from recipekit.llm.token_counter import TokenCounter

if TYPE_CHECKING:
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["estimate"]

REASONING_GUESS: Final = {"minimal": 100, "low": 300, "medium": 1000, "high": 3000}
"""Reasoning tokens of a call, by effort; as `medium` if none is given."""
ONE_RELEVANT_IN: Final = 5
"""One passage in so many is assumed to be relevant, for the length of a reply."""
REASON_TOKENS: Final = 25


def estimate(
    spec: LlmJudgeSpec,
    builder: RequestBuilder,
    response_format: ResponseFormat,
    price: Price | None,
    counter: TokenCounter,
    sizes: Sizes,
    pairs: int,
) -> dict[str, float | str]:
    """Calls, tokens, money and hours, and what they rest on (see `Component.estimate`).

    Args:
        spec: The judge.
        builder: Builds its requests.
        response_format: The response format of the requests.
        price: The model's price; None if unknown.
        counter: Counts the model's tokens, exactly or nearly.
        sizes: The data, with the queries that are judged.
        pairs: How many pairs are judged.
    """
    if not pairs:
        return {}
    queries = min(pairs, max(1, sizes.n_queries))
    effort = spec.reasoning_effort or "medium"
    reasoning = REASONING_GUESS.get(effort, REASONING_GUESS["medium"]) if builder.reasons else 0
    result = workload(
        _tokens(spec, builder, response_format, counter, sizes, reasoning),
        queries=queries,
        pairs_per_query=pairs / queries,
        passages_per_call=spec.passages_per_call,
        strata=1 if spec.previous_verdicts is None else len(set(spec.previous_verdicts)),
        votes=_votes(spec),
        price=price,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )
    figures: dict[str, float | str] = {
        "calls": result.calls,
        "tokens in": result.tokens_in,
        "tokens out": result.tokens_out,
    }
    unknown = f"unknown: no price known for {spec.model}; give `price: {{input: ..., output: ...}}`"
    figures["usd"] = unknown if result.usd is None else result.usd
    if result.hours is not None:
        figures["hours"] = round(result.hours, 3)
    if not counter.exact:
        figures["tokens"] = (
            f"an estimate by {counter.name}: give the model's own `tokenizer` for exact counts"
        )
    if builder.reasons:
        figures["reasoning"] = f"assumed to be {reasoning:,} tokens per call"
    return figures


def _tokens(
    spec: LlmJudgeSpec,
    builder: RequestBuilder,
    response_format: ResponseFormat,
    counter: TokenCounter,
    sizes: Sizes,
    reasoning: int,
) -> CallTokens:
    passage = _mean(sizes.passage_sample, counter, spec.max_passage_tokens)
    has_references = builder.num_references > 0

    def tokens_in(count: int) -> float:
        """Input tokens of a call with empty texts."""
        empty = PromptText("", False)
        zeros = (0,) * count
        references = ("",) if has_references else ()
        texts = QueryTexts(0, empty, (empty,) * count, zeros, zeros, references)
        group = Group(tuple(GroupItem("", index) for index in range(count)), 0)
        return counter.prompt(builder.build(texts, group, response_format))

    def tokens_out(count: int) -> int:
        grades = [int(index % ONE_RELEVANT_IN == 0) for index in range(count)]
        return counter.count(builder.prompt.form.write(grades))

    k = spec.passages_per_call
    in_per_passage = (tokens_in(k + 1) - tokens_in(1)) / k
    out_per_passage = (tokens_out(10 * k) - tokens_out(k)) / (9 * k)
    canary = spec.canary_share * (passage + in_per_passage)
    return CallTokens(
        query=_mean(sizes.query_sample, counter, spec.max_query_tokens),
        passage=passage,
        overhead=tokens_in(1) - in_per_passage + canary,
        in_per_passage=in_per_passage,
        out_per_passage=out_per_passage + (REASON_TOKENS if spec.explain else 0),
        out_per_call=max(0.0, tokens_out(1) - out_per_passage),
        reasoning=reasoning,
        reference=passage if has_references else 0,
    )


def _votes(spec: LlmJudgeSpec) -> float:
    """How often a pair is judged on average; at temperature 0 at most once per order."""
    votes = spec.votes + spec.repeat_share
    orders = math.factorial(spec.passages_per_call)
    return min(votes, orders) if spec.effective_temperature == 0 else votes


def _mean(texts: Sequence[str], counter: TokenCounter, max_tokens: int) -> float:
    """Mean tokens of texts as they appear in a prompt."""
    tokens = [counter.count(prompt_text(text, counter, max_tokens).text) for text in texts]
    return sum(tokens) / max(1, len(tokens))
