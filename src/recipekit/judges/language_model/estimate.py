"""What judging will cost, from a sample of the texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recipekit.component import Sizes
from recipekit.judges.language_model.grouping import Group, Item, QueryTexts
from recipekit.judges.language_model.readings import Readings
from recipekit.judges.language_model.requests import Attempt, Requests, Structured
from recipekit.judges.language_model.texts import Shown, shown
from recipekit.judges.prompting.render import check_template
from recipekit.llm.prices import Price
from recipekit.llm.tokens import TokenCounter
from recipekit.llm.work import Work, work

if TYPE_CHECKING:
    from recipekit.judges.llm import LlmJudgeSpec

__all__ = ["estimated"]

THOUGHTS: Final = {"none": 0, "minimal": 100, "low": 300, "medium": 1000, "high": 3000, None: 1000}
"""Reasoning tokens of a call, by effort: a guess, which is said."""
RELEVANT: Final = 5
"""One passage in so many is taken to be relevant, for the length of an answer."""


def estimated(
    spec: LlmJudgeSpec,
    requests: Requests,
    structured: Structured,
    price: Price | None,
    counter: TokenCounter,
    sizes: Sizes,
    pairs: int,
) -> dict[str, float | str]:
    """See `Component.estimate`: calls, tokens, money and hours, and what they rest on.

    Args:
        spec: The judge.
        requests: Makes its requests.
        structured: How answers are asked for.
        price: Of the model; None where it is not known.
        counter: Of the model's tokens, or near them.
        sizes: The data, its queries those that are judged.
        pairs: How many pairs are judged.
    """
    if not pairs:
        return {}
    done = _work(spec, requests, structured, price, counter, sizes, pairs)
    said: dict[str, float | str] = {
        "calls": done.calls,
        "tokens in": done.tokens_in,
        "tokens out": done.tokens_out,
    }
    unknown = f"unknown: no price known for {spec.model}; give `price: {{input: ..., output: ...}}`"
    said["usd"] = unknown if done.usd is None else done.usd
    if done.hours is not None:
        said["hours"] = round(done.hours, 3)
    if not counter.exact:
        said["tokens"] = (
            f"an estimate, by {counter.name}: the model's own tokenizer is not at hand (`tokenizer`)"
        )
    if requests.reasons_first:
        said["reasoning"] = f"a guess, {_thoughts(spec):,} tokens a call"
    return said


def _work(
    spec: LlmJudgeSpec,
    requests: Requests,
    structured: Structured,
    price: Price | None,
    counter: TokenCounter,
    sizes: Sizes,
    pairs: int,
) -> Work:
    queries = min(pairs, max(1, sizes.n_queries))
    query_tokens = _mean(sizes.query_sample, counter, spec.max_query_tokens)
    passage_tokens = _mean(sizes.passage_sample, counter, spec.max_passage_tokens)
    with_references = spec.references > 0 and "references" in check_template(
        requests.prompt.source, requests.prompt.form
    )

    def tokens_in(count: int) -> float:
        """Of a call with empty texts: what is there beside them."""
        empty = Shown("", False)
        texts = QueryTexts(
            0, empty, (empty,) * count, (0,) * count, (0,) * count, ("",) if with_references else ()
        )
        group = Group(tuple(Item("", place) for place in range(count)), 0)
        return counter.prompt(requests.of(Attempt(Readings(texts, 1), group), structured))

    def tokens_out(count: int) -> int:
        return counter.count(
            requests.prompt.form.write([int(place % RELEVANT == 0) for place in range(count)])
        )

    k = spec.passages_per_call
    each_in, each_out = (
        (tokens_in(k + 1) - tokens_in(1)) / k,
        (tokens_out(10 * k) - tokens_out(k)) / (9 * k),
    )
    reason = 25 * spec.reasons  # an explanation of at most 20 words
    return work(
        queries=queries,
        pairs_per_query=pairs / queries,
        passages_per_call=k,
        strata=1 if spec.previous_verdicts is None else len(set(spec.previous_verdicts)),
        query_tokens=query_tokens,
        passage_tokens=passage_tokens,
        overhead_tokens=tokens_in(1) - each_in + spec.canaries * (passage_tokens + each_in),
        in_per_passage=each_in,
        out_per_passage=each_out + reason,
        out_per_call=max(0.0, tokens_out(1) - each_out),
        reasoning_per_call=_thoughts(spec) if requests.reasons_first else 0,
        reference_tokens=passage_tokens if with_references else 0,
        votes=_times_asked(spec),
        price=price,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )


def _thoughts(spec: LlmJudgeSpec) -> int:
    """A guess at the thoughts of a model that thinks, in tokens a call."""
    return THOUGHTS[spec.reasoning_effort] or THOUGHTS[None]


def _times_asked(spec: LlmJudgeSpec) -> float:
    """How often a pair is asked about, on average: at temperature 0 in no more ways than its call
    has orders (see `Plan`).
    """
    asked = spec.votes + spec.repeat
    return (
        min(asked, math.factorial(spec.passages_per_call)) if spec.told_temperature == 0 else asked
    )


def _mean(texts: Sequence[str], counter: TokenCounter, max_tokens: int) -> float:
    """Tokens of a text, as it would be shown."""
    return sum(counter.count(shown(text, counter, max_tokens).text) for text in texts) / max(
        1, len(texts)
    )
