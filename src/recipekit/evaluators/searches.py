"""Search with the queries of a split, without the passages that must not count."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Ints, Rows, pair_keys
from recipekit.component import Hits, Progress, QueryBatch, Retriever
from recipekit.dataset import Dataset
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.own_texts import own_texts
from recipekit.query_pairs import QueryPairs
from recipekit.search.exclusion import most_excluded, without

__all__ = ["Searches"]

SEARCH_BLOCK = 512
"""Queries per search, so that not all texts are in memory and progress shows."""
WARM_UP: Final = 32
"""Queries that are searched before time is measured: the first search reads vectors from disk,
allocates memory and chooses kernels."""


class Searches:
    """Searches with the same queries for several systems."""

    def __init__(
        self, spec: RetrievalSpec, dataset: Dataset, queries: Rows, progress: Progress
    ) -> None:
        self.dataset, self.queries, self.progress = dataset, queries, progress
        self.depth = min(spec.search_depth, len(dataset.passages))
        self._excluded = _excluded(spec, dataset, queries)

    def run(self, name: str, retriever: Retriever) -> tuple[Hits, float]:
        """Return a retriever's ranking for every query, (n, depth), and the seconds of search.

        Some queries are searched twice, first without counting the time.
        """
        queries, n_passages = self.queries, len(self.dataset.passages)
        found, seconds = [], 0.0
        retriever.search(self._batch(queries[:WARM_UP]), self.depth)
        with self.progress.track(f"search {name}", len(queries), "queries") as tracker:
            for start in range(0, len(queries), SEARCH_BLOCK):
                positions = np.arange(start, min(start + SEARCH_BLOCK, len(queries)))
                rows = queries[positions]
                batch = self._batch(rows)
                out = self._excluded.take(positions)
                deeper = min(self.depth + most_excluded(out), n_passages)
                started = time.perf_counter()
                hits = retriever.search(batch, deeper)
                seconds += time.perf_counter() - started
                found.append(without(hits, out, self.depth))
                tracker.advance(len(rows))
        ranking = Hits(
            np.concatenate([hits.rows for hits in found]),
            np.concatenate([hits.scores for hits in found]),
        )
        return ranking, seconds

    def _batch(self, rows: Rows) -> QueryBatch:
        return QueryBatch(rows, self.dataset.queries.texts(rows))


def _excluded(spec: RetrievalSpec, dataset: Dataset, queries: Rows) -> QueryPairs:
    """The passages to leave out of each ranking, by position in `queries`."""
    n, n_passages = len(queries), len(dataset.passages)
    keys = [np.empty(0, dtype=np.int64)]
    if spec.exclude_same_id:
        same = _same_id(dataset, queries)
        has_one = np.flatnonzero(same >= 0)
        keys.append(pair_keys(has_one, same[has_one], n_passages))
    if spec.exclude_own_text:
        own = own_texts(dataset).take(queries)
        keys.append(pair_keys(own.query, own.passage, n_passages))
    pairs = np.unique(np.concatenate(keys))
    return QueryPairs.from_sorted(pairs // n_passages, pairs % n_passages, n)


def _same_id(dataset: Dataset, queries: Rows) -> Ints:
    """The passage with each query's own source and id, (n,); -2 if there is none."""
    table = dataset.queries.table.select(["source", "id"]).take(pa.array(queries))
    names = _qualified_ids(table)
    position = pc.index_in(_qualified_ids(dataset.passages.table), value_set=names)
    passages = np.flatnonzero(pc.is_valid(position).to_numpy())
    same = np.full(len(queries), -2, dtype=np.int32)
    same[pc.drop_null(position).to_numpy()] = passages
    return same


def _qualified_ids(table: pa.Table) -> pa.ChunkedArray:
    """Source and id as one text, since ids are unique within their source."""
    separator = pa.scalar("\x00", pa.large_string())
    return pc.binary_join_element_wise(table["source"], table["id"], separator)
