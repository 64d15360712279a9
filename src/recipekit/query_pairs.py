"""`QueryPairs`: (query, passage) pairs by query, the one CSR structure for them.

Labels, judgments, positives and candidates are all sets of pairs that are looked up by query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recipekit.arrays import lookup_sorted

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from recipekit.arrays import Floats, Ints, Rows

__all__ = ["QueryPairs"]


@dataclass(frozen=True)
class QueryPairs:
    """Pairs of n queries, sorted by query, as compressed sparse rows.

    The passages of query i are `passage[offsets[i]:offsets[i + 1]]`. Within a query, passages keep
    the order in which the constructor received them: ascending, or the best ranked first.
    """

    offsets: Rows
    """int64 (n + 1,), where each query's pairs start, and the end of the last."""
    passage: Ints
    """Passage of each pair, int32 (m,)."""

    @classmethod
    def from_sorted(
        cls,
        query: npt.NDArray[np.integer[Any]],
        passage: npt.NDArray[np.integer[Any]],
        n_queries: int,
    ) -> QueryPairs:
        """Build from pairs whose queries ascend.

        Args:
            query: Query of each pair, in [0, n_queries), (m,).
            passage: Passage of each pair, (m,).
            n_queries: Number of queries; those without pairs have empty rows.
        """
        # Searching for values of another dtype would convert the whole column.
        queries = np.arange(n_queries + 1).astype(query.dtype)
        offsets = np.searchsorted(query, queries).astype(np.int64)
        return cls(offsets, passage.astype(np.int32, copy=False))

    @classmethod
    def from_pairs(
        cls,
        query: npt.NDArray[np.integer[Any]],
        passage: npt.NDArray[np.integer[Any]],
        n_queries: int,
    ) -> QueryPairs:
        """Build from pairs in any order; within a query, passages ascend.

        Args:
            query: Query of each pair, (m,).
            passage: Passage of each pair, (m,).
            n_queries: Number of queries.

        Raises:
            ValueError: A query or passage is out of range, or a pair occurs twice.
        """
        if len(query) and not (0 <= query.min() and query.max() < n_queries and passage.min() >= 0):
            raise ValueError(
                f"a pair is out of range: queries are 0..{n_queries - 1}, passages 0 or more"
            )
        # Tables are stored sorted: sorting a hundred million pairs again would be wasteful.
        if not _ascends(query, passage):
            order = np.lexsort((passage, query))
            query, passage = query[order], passage[order]
        if ((query[1:] == query[:-1]) & (passage[1:] == passage[:-1])).any():
            raise ValueError("a pair occurs twice")
        return cls.from_sorted(query, passage, n_queries)

    @classmethod
    def from_table(cls, table: pa.Table, n_queries: int) -> QueryPairs:
        """Build from the `query` and `passage` columns of a table that is sorted by query."""
        return cls.from_sorted(table["query"].to_numpy(), table["passage"].to_numpy(), n_queries)

    def __len__(self) -> int:
        return len(self.passage)

    @property
    def n_queries(self) -> int:
        """Number of queries, with or without pairs."""
        return len(self.offsets) - 1

    @property
    def query(self) -> Rows:
        """Query of each pair, int64 (m,)."""
        return np.repeat(np.arange(self.n_queries), np.diff(self.offsets))

    def of(self, queries: Rows) -> tuple[Rows, Rows]:
        """Look up the pairs of some queries.

        Args:
            queries: int64 (k,), in any order.

        Returns:
            For each pair found its query's position in `queries`, ascending, and its position
            among all pairs; int64 each.
        """
        starts, counts = self.offsets[queries], np.diff(self.offsets)[queries]
        local = np.repeat(np.arange(len(queries)), counts)
        shift = starts - (np.cumsum(counts) - counts)
        return local, np.arange(len(local)) + shift[local]

    def take(self, queries: Rows) -> QueryPairs:
        """Return the pairs of some queries, which are numbered by their positions in `queries`."""
        local, at = self.of(queries)
        return QueryPairs.from_sorted(local, self.passage[at], len(queries))

    def among(self, passages: Rows) -> QueryPairs:
        """Return the pairs with some passages, which are numbered by their positions.

        Args:
            passages: Ascending, int64 (k,).
        """
        at, is_among = lookup_sorted(passages, self.passage)
        return QueryPairs.from_sorted(self.query[is_among], at[is_among], self.n_queries)

    def normalized(self, values: npt.NDArray[Any]) -> Floats:
        """Scale one value per pair so that each query's values sum to 1; float32 (m,)."""
        query = self.query
        totals = np.bincount(query, weights=values, minlength=self.n_queries)
        shares: Floats = (values / totals[query]).astype(np.float32)
        return shares

    def to_torch(self, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Return query and passage of each pair as int64 tensors (m,) on a device."""
        import torch

        query = torch.from_numpy(self.query)
        passage = torch.from_numpy(self.passage.astype(np.int64))
        return query.to(device, non_blocking=True), passage.to(device, non_blocking=True)


def _ascends(query: npt.NDArray[np.integer[Any]], passage: npt.NDArray[np.integer[Any]]) -> bool:
    same_query = query[1:] == query[:-1]
    ascends = (query[1:] > query[:-1]) | (same_query & (passage[1:] >= passage[:-1]))
    return bool(ascends.all())
