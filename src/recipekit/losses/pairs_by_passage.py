"""The labelled pairs of frozen queries by passage, so that a block of passages finds its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recipekit.arrays import Rows
from recipekit.query_pairs import QueryPairs

if TYPE_CHECKING:
    from recipekit.component import TrainingLabels

__all__ = ["BlockPairs", "PairsByPassage"]


@dataclass(frozen=True)
class PairsByPassage:
    """The labelled pairs of this rank's queries, by passage."""

    n_queries: int
    first_positive: Rows
    """Where each query's positives start, (n_queries + 1,)."""
    weight: npt.NDArray[np.float32]
    positive: QueryPairs
    """Rows are passages, and what it calls passages are queries."""
    number: Rows
    """Which positive, in order of queries, each pair of `positive` is."""
    ignored: QueryPairs

    @classmethod
    def of(cls, labels: TrainingLabels, rows: Rows, n_passages: int) -> PairsByPassage:
        """Sort the pairs of some training queries, which are numbered by their positions."""
        positive, ignored = labels.positive.take(rows), labels.ignored.take(rows)
        order = np.lexsort((positive.query, positive.passage))
        by_passage = QueryPairs.from_sorted(
            positive.passage[order], positive.query[order], n_passages
        )
        weight = labels.weight[labels.positive.of(rows)[1]]
        transposed = QueryPairs.from_pairs(ignored.passage, ignored.query, n_passages)
        return cls(len(rows), positive.offsets, weight, by_passage, order, transposed)

    def masked_counts(self, *, competing: bool) -> Rows:
        """Count the passages that do not compete for each query, (n_queries,)."""
        counts = np.bincount(self.ignored.passage, minlength=self.n_queries)
        if not competing:
            counts += np.diff(self.first_positive)
        return counts.astype(np.int64)

    def positives_of(self, first: int, last: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return query, counted from `first`, and weight of the positives of some queries."""
        counts = np.diff(self.first_positive[first : last + 1])
        query = np.repeat(np.arange(last - first), counts)
        weight = self.weight[self.first_positive[first] : self.first_positive[last]]
        return torch.from_numpy(query).to(like.device), torch.from_numpy(weight).to(like)

    def in_block(self, rows: Rows, device: torch.device) -> BlockPairs:
        """Return the pairs of a block of passages."""
        column, at = self.positive.of(rows)
        ignored_column, ignored_at = self.ignored.of(rows)
        positive = (self.positive.passage[at], column, self.number[at])
        ignored = (self.ignored.passage[ignored_at], ignored_column)
        return BlockPairs(_by_query(*positive, device=device), _by_query(*ignored, device=device))


@dataclass(frozen=True)
class BlockPairs:
    """The labelled pairs of a block, by query, as int64 tensors."""

    positive: tuple[Tensor, ...]
    """Query, column in the block, and number of each positive."""
    ignored: tuple[Tensor, ...]
    """Query and column of each ignored pair."""

    def positives(self, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return row in the tile, column and number of the positives in a tile of queries."""
        query, column, number = _between(self.positive, first, last)
        return query - first, column, number

    def masked(self, first: int, last: int, *, competing: bool) -> tuple[Tensor, Tensor]:
        """Return row and column of the entries of a tile that do not compete."""
        query, column = _between(self.ignored, first, last)
        if not competing:
            positive_query, positive_column, _ = _between(self.positive, first, last)
            query = torch.cat([query, positive_query])
            column = torch.cat([column, positive_column])
        return query - first, column


def _between(columns: tuple[Tensor, ...], first: int, last: int) -> tuple[Tensor, ...]:
    """Select the entries whose query is in [first, last)."""
    limits = torch.tensor([first, last], device=columns[0].device)
    low, high = torch.searchsorted(columns[0], limits).tolist()
    return tuple(column[low:high] for column in columns)


def _by_query(*columns: npt.NDArray[np.integer], device: torch.device) -> tuple[Tensor, ...]:
    order = np.argsort(columns[0], kind="stable")
    return tuple(torch.from_numpy(column[order].astype(np.int64)).to(device) for column in columns)
