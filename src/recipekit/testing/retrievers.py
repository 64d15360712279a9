"""The conformance check of retrievers."""

from __future__ import annotations

from typing import Any

import numpy as np

from recipekit.component import Context, Hits, QueryBatch, Retriever, RetrieverSpec
from recipekit.testing.promises import (
    build,
    call,
    conformance_check,
    expect,
    expect_array,
    expect_dataset,
    expect_json_map,
    expect_members,
    expect_methods,
    found,
    member,
)
from recipekit.testing.specs import check_spec

__all__ = ["check_retriever"]


@conformance_check
def check_retriever(spec: RetrieverSpec, context: Context, depth: int = 10) -> None:
    """Check a retriever over `context.dataset`: shape, order, padding and repeatability of hits.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "retriever")
    expect_dataset(type(spec).__name__, context)
    name, dataset = type(spec).__name__, context.dataset
    rows = np.arange(min(len(dataset.queries), 64), dtype=np.int64)
    queries = QueryBatch(rows, dataset.queries.texts(rows))
    retriever = build(spec, Retriever, context)
    expect_methods(name, retriever, Retriever, "search")
    expect_members(name, retriever, Retriever, "counts", "searches_on_all_ranks")
    hits = _search(name, retriever, queries, depth)
    _check_hits(name, hits, len(rows), depth, len(dataset.passages))
    expect_json_map(f"{name}.counts", member(name, retriever, "counts", "it must be a mapping"))
    expect(
        (hits.rows >= 0).any(),
        f"{name}.search() finds nothing for any query; check it on data where it finds something",
    )
    again = _search(name, build(spec, Retriever, context), queries, depth)
    same = np.array_equal(hits.rows, again.rows) and np.array_equal(hits.scores, again.scores)
    expect(same, f"{name}.search() finds other passages in a second search")
    deep = _search(name, retriever, queries, len(dataset.passages) + 3)
    _check_hits(name, deep, len(rows), len(dataset.passages) + 3, len(dataset.passages))
    expect(
        np.array_equal(deep.rows[:, :depth], hits.rows),
        f"{name}.search(): the first {depth} hits depend on the requested depth",
    )
    if member(name, retriever, "searches_on_all_ranks", "it must be True or False"):
        last = _search(name, retriever, QueryBatch(rows[-1:], queries.texts[-1:]), depth)
        same = np.array_equal(last.rows[0], hits.rows[-1])
        expect(
            same and np.array_equal(last.scores[0], hits.scores[-1]),
            f"{name}.search(): the hits of a query depend on the others, so ranks cannot share "
            "queries: searches_on_all_ranks must be False",
        )


def _search(name: str, retriever: Any, queries: QueryBatch, depth: int) -> Hits:
    expected = "it must return Hits"
    hits: Hits = call(f"{name}.search()", expected, lambda: retriever.search(queries, depth))
    expect(isinstance(hits, Hits), f"{name}.search() returns {found(hits)}; {expected}")
    return hits


def _check_hits(name: str, hits: Hits, n: int, depth: int, n_passages: int) -> None:
    expect_array(f"{name}.search().rows", hits.rows, (n, depth), np.int32)
    expect_array(f"{name}.search().scores", hits.scores, (n, depth), np.float32)
    empty = hits.rows == -1
    expect(
        (empty == np.isneginf(hits.scores)).all(),
        f"{name}.search(): rows of -1 and scores of -inf must be at the same positions",
    )
    expect(
        not (empty[:, :-1] & ~empty[:, 1:]).any(),
        f"{name}.search(): a hit follows an empty position; padding must be at the end",
    )
    expect(
        ((hits.rows >= -1) & (hits.rows < n_passages)).all(),
        f"{name}.search(): a passage row is out of range",
    )
    expect(not np.isnan(hits.scores).any(), f"{name}.search(): a score is NaN")
    before, after, filled = hits.scores[:, :-1], hits.scores[:, 1:], ~empty[:, 1:]
    expect(
        (before >= after)[filled].all(), f"{name}.search(): hits are not sorted by descending score"
    )
    tied = filled & (before == after)
    expect(
        (hits.rows[:, :-1] < hits.rows[:, 1:])[tied].all(),
        f"{name}.search(): a tie is not broken by the lower row",
    )
    for row in hits.rows:
        hit = row[row >= 0]
        expect(
            len(np.unique(hit)) == len(hit),
            f"{name}.search(): a passage is twice among the hits of a query",
        )
