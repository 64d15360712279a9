"""Conformance checks of sources, retrievers and judges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recipekit.component import (
    Context,
    Hits,
    JudgeSpec,
    PairBatch,
    QueryBatch,
    RetrieverSpec,
    SourceSpec,
    Verdicts,
)
from recipekit.dataset import Dataset
from recipekit.records import SPLITS, Label, Passage, Query, Verdict
from recipekit.testing.specs import check_spec, expect, expect_members

__all__ = ["check_judge", "check_retriever", "check_source"]

ROUNDING = 0.01
"""How much grades can differ between batches: two units in bfloat16's last place."""


def check_source(spec: SourceSpec, context: Context) -> None:
    """Check a source: unique ids, labels of known texts, known splits, and equal passes."""
    check_spec(spec, "source")
    name = type(spec).__name__
    source = spec.build(context)
    expect_members(name, source, "Source", "located", "counts")
    records = list(source.load())
    located = [record for _, record in source.located()]
    expect(not located or located == records, f"{name}.located() gives other records than load()")
    unknown = {type(record).__name__ for record in records} - {"Passage", "Query", "Label"}
    expect(
        not unknown,
        f"{name} yields {', '.join(unknown)}: only Passage, Query and Label are allowed",
    )
    ids: dict[str, set[str]] = {}
    for kind in (Passage, Query):
        texts = [record for record in records if isinstance(record, kind)]
        found = ids[kind.__name__] = {record.id for record in texts}
        expect(texts, f"{name} yields no {kind.__name__}; check it on data that has some")
        expect(len(found) == len(texts), f"{name} yields two {kind.__name__} records with one id")
        expect(
            all(isinstance(record.id, str) and record.id for record in texts),
            f"{name} yields a {kind.__name__} without an id",
        )
        expect(
            all(isinstance(record.text, str) for record in texts),
            f"{name} yields a {kind.__name__} whose text is not a str",
        )
    for record in records:
        if isinstance(record, Query):
            expect(
                record.split in (None, *SPLITS),
                f"{name}: query '{record.id}' has the split {record.split!r}, not one of {SPLITS}",
            )
        elif isinstance(record, Label):
            joined = record.query_id in ids["Query"] and record.passage_id in ids["Passage"]
            expect(
                joined,
                f"{name}: a label refers to '{record.query_id}' and '{record.passage_id}', "
                "which are not both among the texts",
            )
    expect(
        list(spec.build(context).load()) == records,
        f"{name} yields other records, or another order, in a second pass",
    )


def check_retriever(spec: RetrieverSpec, context: Context, depth: int = 10) -> None:
    """Check a retriever over `context.dataset`: shape, order, padding and repeatability of hits."""
    check_spec(spec, "retriever")
    name, dataset = type(spec).__name__, context.dataset
    rows = np.arange(min(len(dataset.queries), 64), dtype=np.int64)
    queries = QueryBatch(rows, dataset.queries.texts(rows))
    retriever = spec.build(context)
    expect_members(name, retriever, "Retriever", "counts")
    hits = retriever.search(queries, depth)
    _check_hits(name, hits, len(rows), depth, len(dataset.passages))
    expect(
        (hits.rows >= 0).any(),
        f"{name} finds nothing for any query; check it on data where it finds something",
    )
    again = spec.build(context).search(queries, depth)
    same = np.array_equal(hits.rows, again.rows) and np.array_equal(hits.scores, again.scores)
    expect(same, f"{name} finds other passages in a second search")
    deep = retriever.search(queries, len(dataset.passages) + 3)
    _check_hits(name, deep, len(rows), len(dataset.passages) + 3, len(dataset.passages))
    expect(
        np.array_equal(deep.rows[:, :depth], hits.rows),
        f"{name}: the first {depth} hits depend on the requested depth",
    )


def _check_hits(name: str, hits: Hits, n: int, depth: int, n_passages: int) -> None:
    for what, array, dtype in (("rows", hits.rows, np.int32), ("scores", hits.scores, np.float32)):
        shaped = array.shape == (n, depth) and array.dtype == dtype
        expect(
            shaped,
            f"{name}: {what} are {array.dtype} {array.shape}, not {np.dtype(dtype)} {(n, depth)}",
        )
    empty = hits.rows == -1
    expect(
        (empty == np.isneginf(hits.scores)).all(),
        f"{name}: rows of -1 and scores of -inf must be at the same positions",
    )
    expect(
        not (empty[:, :-1] & ~empty[:, 1:]).any(),
        f"{name}: a hit follows an empty position; padding must be at the end",
    )
    expect(
        ((hits.rows >= -1) & (hits.rows < n_passages)).all(),
        f"{name}: a passage row is out of range",
    )
    expect(not np.isnan(hits.scores).any(), f"{name}: a score is NaN")
    before, after, filled = hits.scores[:, :-1], hits.scores[:, 1:], ~empty[:, 1:]
    expect((before >= after)[filled].all(), f"{name}: hits are not sorted by descending score")
    tied = filled & (before == after)
    expect(
        (hits.rows[:, :-1] < hits.rows[:, 1:])[tied].all(),
        f"{name}: a tie is not broken by the lower row",
    )
    for row in hits.rows:
        found = row[row >= 0]
        expect(
            len(np.unique(found)) == len(found),
            f"{name}: a passage is twice among the hits of a query",
        )


def check_judge(spec: JudgeSpec, context: Context) -> None:
    """Check a judge over `context.dataset`, on pairs of its labelled queries.

    It gives at most one verdict on each wanted pair, and none on any other, in known codes; and the
    same verdicts whatever the order of the queries and however they are batched, but for the
    rounding of grades and confidences.
    """
    check_spec(spec, "judge")
    name = type(spec).__name__
    expect_members(name, spec.build(context), "Judge", "figures", "counts")
    batches = _pairs(context.dataset, context.seed)
    whole = _verdicts(name, spec, context, batches)
    expect(
        whole,
        f"{name} judges no pair of {len(batches)} queries; check it on data where it judges some",
    )
    expect(
        _verdicts(name, spec, context, batches) == whole,
        f"{name} gives other verdicts in a second run",
    )
    joined = [
        PairBatch(
            *(np.concatenate(arrays) for arrays in zip(*map(_arrays, batches[::-1]), strict=True))
        )
    ]
    again = _verdicts(name, spec, context, joined)
    same = again.keys() == whole.keys() and all(_alike(again[pair], whole[pair]) for pair in whole)
    expect(same, f"{name}: verdicts depend on the order of the queries, or on the batches")
    nothing = [
        PairBatch(
            b.query,
            b.passage,
            b.source_positive,
            b.previous_verdict,
            np.zeros(len(b), dtype=np.bool_),
        )
        for b in batches
    ]
    expect(
        not _verdicts(name, spec, context, nothing), f"{name} judges pairs although none is wanted"
    )
    expect(not _verdicts(name, spec, context, []), f"{name} judges pairs although there are none")


def _arrays(batch: PairBatch) -> tuple[np.ndarray, ...]:
    return batch.query, batch.passage, batch.source_positive, batch.previous_verdict, batch.wanted


def _pairs(dataset: Dataset, seed: int) -> list[PairBatch]:
    """Pairs of labelled queries with their positives and other passages, most of them wanted."""
    random = np.random.default_rng(seed)
    batches = []
    positives = dataset.positives
    query, passage = positives["query"].to_numpy(), positives["passage"].to_numpy()
    for row in np.unique(query)[:16]:
        own = passage[query == row]
        others = random.permutation(np.setdiff1d(np.arange(len(dataset.passages)), own))[:20]
        passages = random.permutation(np.concatenate([own, others])).astype(np.int32)
        given = np.isin(passages, own)
        before = np.where(given, Verdict.POSITIVE, Verdict.UNJUDGED).astype(np.int8)
        wanted = ~given & (random.random(len(passages)) < 0.8)
        batches.append(
            PairBatch(np.full(len(passages), row, dtype=np.int32), passages, given, before, wanted)
        )
    return batches


def _verdicts(
    name: str, spec: JudgeSpec, context: Context, batches: Sequence[PairBatch]
) -> dict[tuple[int, int], tuple[object, ...]]:
    """The verdicts of a judge by pair, after checks of their form."""
    wanted = {
        pair
        for b in batches
        for pair in zip(b.query[b.wanted].tolist(), b.passage[b.wanted].tolist(), strict=True)
    }
    found: dict[tuple[int, int], tuple[object, ...]] = {}
    for verdicts in spec.build(context).judge(batches):
        for pair, verdict, *rest in _rows(name, verdicts):
            expect(
                pair in wanted,
                f"{name} judges query {pair[0]} and passage {pair[1]}, which is not wanted",
            )
            expect(pair not in found, f"{name} judges query {pair[0]} and passage {pair[1]} twice")
            known = (Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE)
            expect(
                verdict in known,
                f"{name}: {verdict} is not a verdict; leave out pairs that stay unjudged",
            )
            found[pair] = (verdict, *rest)
    return found


def _alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two judgments of a pair are equal, up to the rounding of scores."""
    (verdict, *numbers, reason), (other_verdict, *other_numbers, other_reason) = one, other
    rounded = all(
        a == b
        or (
            a is not None
            and b is not None
            and math.isclose(float(a), float(b), rel_tol=ROUNDING, abs_tol=ROUNDING)
        )
        for a, b in zip(numbers, other_numbers, strict=True)
    )
    return (verdict, reason) == (other_verdict, other_reason) and rounded


def _rows(name: str, verdicts: Verdicts) -> Iterator[tuple[Any, ...]]:
    """Yield ((query, passage), verdict, grade, confidence, reason), numbers as text.

    As text, NaN equals itself.
    """
    m = len(verdicts.query)
    columns = {
        what: getattr(verdicts, what)
        for what in ("passage", "verdict", "grade", "confidence", "reason")
    }
    for what, column in columns.items():
        expect(
            column is None or len(column) == m, f"{name}: {what} and query have different lengths"
        )
    for what in ("grade", "confidence"):
        expect(
            columns[what] is None or columns[what].dtype == np.float32,
            f"{name}: {what} is not float32",
        )
    pairs = zip(verdicts.query.tolist(), verdicts.passage.tolist(), strict=True)
    numbers = [
        [None] * m if column is None else list(map(repr, column.tolist()))
        for column in (verdicts.grade, verdicts.confidence)
    ]
    yield from zip(
        pairs, verdicts.verdict.tolist(), *numbers, verdicts.reason or [None] * m, strict=True
    )
