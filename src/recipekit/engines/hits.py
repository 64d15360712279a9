"""From an engine's hits to `Hits`: external ids to passage rows, ordering and padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Floats, Ints, Rows, positions_in_groups
from recipekit.component import Hits
from recipekit.errors import ComponentError
from recipekit.tables import TextTable

__all__ = ["ExternalIds", "assemble_hits"]


class ExternalIds:
    """Maps the ids in an index that recipekit did not fill to rows of passages, or of queries.

    Hits that were not collected are counted, and too many of them are an error. Ids are found by
    binary search: 8 bytes per id in addition to the ids themselves, and no dictionary.
    """

    def __init__(
        self,
        texts: TextTable,
        *,
        source: str | None,
        index: str,
        max_unknown_ids: float,
        named: str = "passages",
    ) -> None:
        """Sort the ids.

        Args:
            texts: The collected passages, or queries.
            source: The source whose ids the index has; collect writes `source/id` if a recipe has
                several sources.
            index: Server and index, for the error.
            max_unknown_ids: The largest accepted share of unknown hits, 0 to 1.
            named: What the texts are called in errors.

        Raises:
            ComponentError: No text comes from that source.
        """
        if source is not None:
            sources = sorted(texts.table["source"].unique().to_pylist())
            if source not in sources:
                raise ComponentError(
                    f"source '{source}' has no {named}; there are: {', '.join(sources)}",
                    code="RK267",
                )
        ids = texts.table["id"].cast(pa.large_string()).combine_chunks()
        self._order: Rows = pc.sort_indices(ids).to_numpy().astype(np.int64)
        self._sorted = ids.take(pa.array(self._order))
        self._prefix = f"{source}/" if source else ""
        self._index = index
        self._max_unknown = max_unknown_ids
        self.hits = 0
        self.unknown = 0

    def rows(self, ids: Sequence[str]) -> Rows:
        """Rows (n,) of the hits' ids, -1 for those that were not collected.

        Raises:
            ComponentError: More than the accepted share of all hits so far are unknown.
        """
        rows = self._find(ids)
        unknown = np.flatnonzero(rows < 0)
        self.hits += len(rows)
        self.unknown += len(unknown)
        if self.unknown > self._max_unknown * self.hits:
            example = f", for example '{ids[unknown[0]]}'" if len(unknown) else ""
            raise ComponentError(
                f"{self._index}: {self.unknown} of {self.hits} hits are passages that were not "
                f"collected{example}; max_unknown_ids allows {self._max_unknown:.0%}. Check that "
                "the index holds this corpus, and check `id_field` and `source`",
                code="RK251",
            )
        return rows

    def _find(self, ids: Sequence[str]) -> Rows:
        wanted = pa.array([self._prefix + id for id in ids], pa.large_string())
        last = len(self._order) - 1
        low = np.zeros(len(wanted), np.int64)
        high = np.full(len(wanted), len(self._order), np.int64)
        while (searching := low < high).any():
            middle = np.minimum((low + high) // 2, last)
            is_before = pc.less(self._sorted.take(pa.array(middle)), wanted)
            go_up = is_before.to_numpy(zero_copy_only=False) & searching
            high = np.where(searching & ~go_up, middle, high)
            low = np.where(go_up, middle + 1, low)
        at = np.minimum(low, last)
        found = pc.equal(self._sorted.take(pa.array(at)), wanted).to_numpy(zero_copy_only=False)
        return np.where(found, self._order[at], -1)


def assemble_hits(n_queries: int, depth: int, query: Rows, rows: Rows, scores: Floats) -> Hits:
    """Order and pad an engine's hits; ties go to the lower row.

    An index that recipekit did not fill may hold a passage twice: only its best hit is kept.

    Args:
        n_queries: Queries in the batch.
        depth: Most hits per query.
        query: (m,), the query of each hit, in any order.
        rows: (m,), its passage row; -1 drops the hit.
        scores: (m,), its score, higher is better.
    """
    order = np.lexsort((rows, -scores, query))
    order = order[rows[order] >= 0]
    query, rows, scores = query[order], rows[order], scores[order].astype(np.float32)
    _, first = np.unique(np.stack([query, rows], axis=1), axis=0, return_index=True)
    first.sort()
    query, rows, scores = query[first], rows[first], scores[first]
    rank = positions_in_groups(query)
    kept = rank < depth
    hit_rows: Ints = np.full((n_queries, depth), -1, np.int32)
    hit_scores: Floats = np.full((n_queries, depth), -np.inf, np.float32)
    hit_rows[query[kept], rank[kept]] = rows[kept]
    hit_scores[query[kept], rank[kept]] = scores[kept]
    return Hits(hit_rows, hit_scores)
