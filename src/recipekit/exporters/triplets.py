"""Triplets from three-state judgments: a query, a positive, and its hardest judged negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recipekit.arrays import Ints, Rows, lookup_sorted, pair_keys
from recipekit.dataset import Dataset
from recipekit.records import Verdict

__all__ = ["TripletRows", "triplets"]

JUDGMENTS_PER_CHUNK = 1 << 17


@dataclass(frozen=True)
class TripletRows:
    """Rows of m triplets, the hardest negative first."""

    query: Rows
    """(m,)"""
    positive: Rows
    """(m,)"""
    negatives: Rows
    """(m, num_negatives)"""


def triplets(
    dataset: Dataset, judgments: pa.Table, candidates: pa.Table | None, num_negatives: int
) -> Iterator[TripletRows]:
    """A triplet for each positive of the train queries with enough judged negatives, in chunks.

    Args:
        dataset: The data set.
        judgments: `JUDGMENTS`. Ignored and unjudged passages are never negatives.
        candidates: `CANDIDATES`, whose order says which negatives are hardest. Without candidates,
            the order of the passages decides.
        num_negatives: Negatives per triplet.
    """
    train = dataset.queries.table["split"].to_numpy() == 0
    query = judgments["query"].to_numpy()
    ranked = None if candidates is None else candidates["query"].to_numpy()
    for start, end in _whole_queries(query):
        chunk = judgments.slice(start, end - start).filter(pa.array(train[query[start:end]]))
        order = None
        if candidates is not None and ranked is not None:
            first, last = np.searchsorted(ranked, [query[start], query[end - 1] + 1])
            order = candidates.slice(first, last - first)
        found = _of_chunk(chunk, order, num_negatives, len(dataset.passages))
        if len(found.query):
            yield found


def _whole_queries(query: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of a sorted column that do not split a query."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    start = 0
    while start < len(query):
        found = np.searchsorted(starts, start + JUDGMENTS_PER_CHUNK)
        end = int(starts[found]) if found < len(starts) else len(query)
        yield start, end
        start = end


def _of_chunk(
    judgments: pa.Table, candidates: pa.Table | None, num_negatives: int, n_passages: int
) -> TripletRows:
    query, passage = (
        judgments["query"].to_numpy().astype(np.int64),
        judgments["passage"].to_numpy().astype(np.int64),
    )
    verdict = judgments["verdict"].to_numpy()
    rank = _ranks(pair_keys(query, passage, n_passages), candidates, n_passages)

    negative = np.flatnonzero(verdict == Verdict.NEGATIVE)
    negative = negative[np.lexsort((rank[negative], query[negative]))]
    queries, first, count = np.unique(query[negative], return_index=True, return_counts=True)
    enough = count >= num_negatives
    queries, first = queries[enough], first[enough]
    hardest = passage[negative[first[:, None] + np.arange(num_negatives)]]  # (queries, n)

    positive = np.flatnonzero((verdict == Verdict.POSITIVE) & np.isin(query, queries))
    return TripletRows(
        query[positive], passage[positive], hardest[np.searchsorted(queries, query[positive])]
    )


def _ranks(keys: Rows, candidates: pa.Table | None, n_passages: int) -> Rows:
    """Each pair's position among the candidates; pairs that are not candidates come last."""
    if candidates is None:
        return np.zeros(len(keys), dtype=np.int64)
    ranked = pair_keys(candidates["query"].to_numpy(), candidates["passage"].to_numpy(), n_passages)
    order = np.argsort(ranked)
    at, there = lookup_sorted(ranked[order], keys)
    ranks = np.full(len(keys), len(ranked))
    ranks[there] = order[at[there]]
    return ranks
