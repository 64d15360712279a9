"""What judging will cost, from a sample of the texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recipekit.judges.language_model.grouping import Group, Item, QueryTexts
from recipekit.judges.language_model.readings import Readings
from recipekit.judges.language_model.requests import Attempt, Requests, Structured
from recipekit.judges.language_model.texts import Shown, ShownTexts
from recipekit.judges.prompting.render import check_template
from recipekit.llm.prices import Price
from recipekit.llm.tokens import TokenCounter
from recipekit.llm.work import Work, work
from recipekit.records import Dataset, TextTable

if TYPE_CHECKING:
    from recipekit.judges.llm import Llm

__all__ = ["estimated"]

SAMPLE: Final = 256
THOUGHTS: Final = {"none": 0, "minimal": 100, "low": 300, "medium": 1000, "high": 3000, None: 1000}
"""Reasoning tokens of a call, by effort: a guess, which is said."""
RELEVANT: Final = 5
"""One passage in so many is taken to be relevant, for the length of an answer."""


def estimated(
    spec: Llm, requests: Requests, structured: Structured, price: Price | None, counter: TokenCounter, dataset: Dataset, pairs: int
) -> dict[str, float | str]:
    """See `Component.estimate`: calls, tokens, money and hours, and what they rest on.

    Args:
        spec: The judge.
        requests: Makes its requests.
        structured: How answers are asked for.
        price: Of the model; None where it is not known.
        counter: Of the model's tokens, or near them.
        dataset: The collected data.
        pairs: How many pairs are judged.
    """
    if not pairs:
        return {}
    done = _work(spec, requests, structured, price, counter, dataset, pairs)
    said: dict[str, float | str] = {"calls": done.calls, "tokens in": done.tokens_in, "tokens out": done.tokens_out}
    unknown = f"unknown: no price known for {spec.model}; give `price: {{input: ..., output: ...}}`"
    said["usd"] = unknown if done.usd is None else done.usd
    if done.hours is not None:
        said["hours"] = round(done.hours, 3)
    if not counter.exact:
        said["tokens"] = f"an estimate, by {counter.name}: the model's own tokenizer is not at hand (`tokenizer`)"
    if requests.reasons_first and THOUGHTS[spec.reasoning_effort]:
        said["reasoning"] = f"a guess, {THOUGHTS[spec.reasoning_effort]:,} tokens a call"
    return said


def _work(
    spec: Llm, requests: Requests, structured: Structured, price: Price | None, counter: TokenCounter, dataset: Dataset, pairs: int
) -> Work:
    queries = min(pairs, max(1, len(dataset.rows("train")) or len(dataset.queries)))
    query = _sample(ShownTexts(dataset.queries, counter, spec.max_query_tokens), dataset.queries)
    passages = _sample(ShownTexts(dataset.passages, counter, spec.max_passage_tokens), dataset.passages)
    query_tokens, passage_tokens = _mean(query, counter), _mean(passages, counter)
    with_references = spec.references > 0 and "references" in check_template(requests.prompt.source)

    def tokens_in(count: int) -> float:
        """Of a call with empty texts: what is there beside them."""
        empty = Shown("", False)
        texts = QueryTexts(0, empty, (empty,) * count, (0,) * count, (0,) * count, ("",) if with_references else ())
        group = Group(tuple(Item("", place) for place in range(count)), 0)
        return counter.prompt(requests.of(Attempt(Readings(texts, 1), group), structured))

    def tokens_out(count: int) -> int:
        return counter.count(requests.prompt.form.write([int(place % RELEVANT == 0) for place in range(count)]))

    k = spec.passages_per_call
    each_in, each_out = (tokens_in(k + 1) - tokens_in(1)) / k, (tokens_out(10 * k) - tokens_out(k)) / (9 * k)
    reason = 25 * spec.reasons  # an explanation of at most 20 words
    once = work(
        queries=queries,
        pairs_per_query=pairs / queries,
        passages_per_call=k,
        query_tokens=query_tokens,
        passage_tokens=passage_tokens,
        overhead_tokens=tokens_in(1) - each_in + spec.canaries * (passage_tokens + each_in),
        in_per_passage=each_in,
        out_per_passage=each_out + reason,
        out_per_call=max(0.0, tokens_out(1) - each_out),
        reasoning_per_call=THOUGHTS[spec.reasoning_effort] if requests.reasons_first else 0,
        reference_tokens=passage_tokens if with_references else 0,
        votes=1,
        price=price,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
    )
    return _times(once, spec.votes + spec.repeat)


def _times(once: Work, times: float) -> Work:
    """The same work so many times over."""
    return Work(
        once.pairs,
        round(once.calls * times),
        round(once.tokens_in * times),
        round(once.tokens_cached * times),
        round(once.tokens_out * times),
        None if once.usd is None else once.usd * times,
        None if once.hours is None else once.hours * times,
    )


def _sample(texts: ShownTexts, table: TextTable) -> list[str]:
    """Texts at even distances over the whole table, as they would be shown."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(SAMPLE, len(table))).astype(np.int64))
    return [shown.text for shown in texts.of(rows).values()]


def _mean(texts: Sequence[str], counter: TokenCounter) -> float:
    return sum(map(counter.count, texts)) / max(1, len(texts))
