"""The hits of a recipe's retrievers for the queries that are mined."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from recipekit.arrays import Rows
from recipekit.component import Hits, QueryBatch, Ranks, Retriever
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError
from recipekit.own_texts import own_texts
from recipekit.search.exclusion import most_excluded, without
from recipekit.search.shared_search import share_queries

__all__ = ["BATCH", "Retrieval"]

BATCH = 1024
"""Queries retrieved on each rank, and fused and written, at once."""


class Retrieval:
    """Searches with every retriever: on all ranks where it can, else on the main rank."""

    def __init__(
        self,
        dataset: Dataset,
        retrievers: Mapping[str, Retriever],
        depths: Mapping[str, int],
        ranks: Ranks,
    ) -> None:
        """Search nothing yet.

        Args:
            dataset: The collected data.
            retrievers: The retrievers by name.
            depths: How many passages each of them finds per query, at most those of the corpus.
            ranks: The processes of the stage.
        """
        self.dataset, self.retrievers, self.depths = dataset, retrievers, depths
        self.ranks = ranks
        self.seconds = dict.fromkeys(retrievers, 0.0)
        """What each retriever has taken."""
        self.own_texts = 0
        """Pairs of a query and a passage with its text, which were left out."""
        self._own = own_texts(dataset)

    def batches(self, rows: Rows) -> Iterator[tuple[Rows, dict[str, Hits]]]:
        """Yield queries, `BATCH` at a time, and every retriever's hits for them.

        All ranks iterate together. Only the main rank gets hits; on others there are none.

        Raises:
            ComponentError: A retriever returned an invalid result.
        """
        at_once = BATCH * self.ranks.count
        for start in range(0, len(rows), at_once):
            searched = rows[start : start + at_once]
            hits = self._search(searched)
            for first in range(0, len(searched), BATCH):
                part = slice(first, first + BATCH)
                yield (
                    searched[part],
                    {name: Hits(one.rows[part], one.scores[part]) for name, one in hits.items()},
                )

    def _search(self, rows: Rows) -> dict[str, Hits]:
        queries = QueryBatch(rows, self.dataset.queries.texts(rows))
        own = self._own.take(rows)
        self.own_texts += len(own)
        hits = {}
        for name, depth in self.depths.items():
            started = time.perf_counter()
            deeper = min(depth + most_excluded(own), len(self.dataset.passages))
            found = self._found(name, queries, deeper)
            self.seconds[name] += time.perf_counter() - started
            if found is not None:
                hits[name] = without(found, own, depth) if len(own) else found
        return hits

    def _found(self, name: str, queries: QueryBatch, depth: int) -> Hits | None:
        """Return one retriever's hits; None on ranks that get none."""
        retriever = self.retrievers[name]

        def search(part: slice) -> Hits:
            batch = QueryBatch(queries.rows[part], queries.texts[part])
            hits = retriever.search(batch, depth)
            _check(name, hits, len(batch), len(self.dataset.passages))
            return hits

        if retriever.searches_on_all_ranks:
            found = share_queries(search, len(queries), depth, self.ranks)
            return found if self.ranks.is_main else None
        return search(slice(0, len(queries))) if self.ranks.is_main else None


def _check(name: str, hits: Hits, n_queries: int, n_passages: int) -> None:
    if len(hits.rows) != n_queries or hits.rows.shape != hits.scores.shape:
        shapes = f"rows {hits.rows.shape} and scores {hits.scores.shape}"
        raise ComponentError(
            f"retriever '{name}' returned {shapes} for {n_queries} queries", code="RK242"
        )
    if hits.rows.max(initial=-1) >= n_passages:
        raise ComponentError(
            f"retriever '{name}' returned passage row {hits.rows.max()} of {n_passages} passages",
            code="RK243",
        )
