"""What a loss over the whole corpus is given: whose positives are where, and the corpus as a frozen
matrix.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["FrozenMatrix", "LabelRows"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LabelRows:
    """The positive and the ignored passages of n queries, as sparse rows (CSR).

    The passages of query i are `rows[offsets[i]:offsets[i + 1]]`, ascending. No pair stands twice,
    and none is both positive and ignored; every passage that is neither is a negative. Weights sum
    to 1 over a query's positives.
    """

    positive_offsets: Tensor
    """int64 (n + 1,)."""
    positive_rows: Tensor
    """Passage rows, int64."""
    positive_weights: Tensor
    """float32, beside `positive_rows`."""
    ignored_offsets: Tensor
    """int64 (n + 1,)."""
    ignored_rows: Tensor
    """Passage rows, int64."""

    @classmethod
    def from_pairs(
        cls,
        n_queries: int,
        positive_query: Array,
        positive_passage: Array,
        positive_weight: Array,
        ignored_query: Array,
        ignored_passage: Array,
    ) -> LabelRows:
        """Sort pairs into rows, and scale each query's positive weights to a sum of 1.

        Args:
            n_queries: Number of queries; those without pairs have empty rows.
            positive_query: Queries of the positive pairs, in [0, n_queries), in any order.
            positive_passage: Passage rows, beside them.
            positive_weight: Weights, beside them, greater than 0: all ones, or grades.
            ignored_query: Queries of the ignored pairs.
            ignored_passage: Passage rows, beside them.

        Raises:
            ValueError: A query or a weight is out of range, or a pair stands twice.
        """
        weight = np.asarray(positive_weight, dtype=np.float64)
        if not (weight > 0).all():
            raise ValueError("the weight of a positive must be greater than 0")
        width = 1 + int(
            max(np.max(positive_passage, initial=0), np.max(ignored_passage, initial=0))
        )
        positive_keys, order = _sorted_keys(n_queries, positive_query, positive_passage, width)
        ignored_keys, _ = _sorted_keys(n_queries, ignored_query, ignored_passage, width)
        if np.intersect1d(positive_keys, ignored_keys, assume_unique=True).size:
            raise ValueError("a pair is both positive and ignored")
        query = positive_keys // width
        weight = (
            weight[order] / np.bincount(query, weights=weight[order], minlength=n_queries)[query]
        )
        return cls(
            positive_offsets=_offsets(n_queries, positive_keys, width),
            positive_rows=torch.from_numpy(positive_keys % width),
            positive_weights=torch.from_numpy(weight.astype(np.float32)),
            ignored_offsets=_offsets(n_queries, ignored_keys, width),
            ignored_rows=torch.from_numpy(ignored_keys % width),
        )

    def __len__(self) -> int:
        return len(self.positive_offsets) - 1

    @property
    def positive_queries(self) -> Tensor:
        """The query of each of `positive_rows`, int64 in [0, n)."""
        return _owners(self.positive_offsets)

    @property
    def ignored_queries(self) -> Tensor:
        """The query of each of `ignored_rows`, int64 in [0, n)."""
        return _owners(self.ignored_offsets)

    def take(self, index: Tensor) -> LabelRows:
        """The rows of some queries, int64 `(m,)`, in their order."""
        positive_offsets, positive = _take(self.positive_offsets, index)
        ignored_offsets, ignored = _take(self.ignored_offsets, index)
        return LabelRows(
            positive_offsets,
            self.positive_rows[positive],
            self.positive_weights[positive],
            ignored_offsets,
            self.ignored_rows[ignored],
        )

    def to(self, device: torch.device | str) -> LabelRows:
        """The same rows on a device."""
        return LabelRows(
            **{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()}
        )


def _sorted_keys(
    n_queries: int, query: Array, passage: Array, width: int
) -> tuple[npt.NDArray[np.int64], Array | slice]:
    """Pairs as query * width + passage, ascending, and the order that sorts them."""
    if len(query) and not (
        0 <= np.min(query) and np.max(query) < n_queries and np.min(passage) >= 0
    ):
        raise ValueError(
            f"a pair is out of range: queries are 0..{n_queries - 1}, passages 0 or more"
        )
    keys = np.asarray(query, dtype=np.int64) * width + np.asarray(passage, dtype=np.int64)
    order: Array | slice = slice(None)
    if (
        keys[1:] < keys[:-1]
    ).any():  # judgments are stored sorted: sorting a hundred million of them again would be waste
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        raise ValueError("a pair stands twice")
    return keys, order


def _offsets(n_queries: int, keys: npt.NDArray[np.int64], width: int) -> Tensor:
    return torch.from_numpy(
        np.searchsorted(keys, np.arange(n_queries + 1, dtype=np.int64) * width).astype(np.int64)
    )


def _owners(offsets: Tensor) -> Tensor:
    return torch.repeat_interleave(
        torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff()
    )


def _take(offsets: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """New offsets of the taken rows, and where their entries stand among the old ones."""
    starts, counts = offsets[index], offsets[index + 1] - offsets[index]
    taken = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    shift = torch.repeat_interleave(starts - taken[:-1], counts)
    return taken, torch.arange(len(shift), device=shift.device) + shift


@dataclass(frozen=True)
class FrozenMatrix:
    """All embeddings of one side, or this rank's slice of them, and what the ranks do together with
    their slices.

    Without a group the methods are local and copy nothing. With one they are collective: every rank
    calls them, in the same order.
    """

    matrix: Tensor
    """Rows `start` to `start + len(matrix)`, (n_local, dim), of float32, float16, bfloat16 or
    float64, on any device; it may be a memory-mapped file, which is then read a tile at a time."""
    start: int
    """The first row of this rank's slice."""
    total: int
    """How many rows the ranks hold together."""
    group: ProcessGroup | None = None
    """The ranks that hold the slices; None where this process holds all rows."""

    @classmethod
    def whole(cls, matrix: Tensor) -> FrozenMatrix:
        """A matrix that this process holds alone."""
        return cls(matrix, 0, len(matrix))

    @classmethod
    def share(
        cls, array: Array, *, rank: int = 0, count: int = 1, group: ProcessGroup | None = None
    ) -> FrozenMatrix:
        """This rank's even share of an array `(total, dim)` that every rank can read, usually
        memory-mapped; nothing is copied.
        """
        start, stop = len(array) * rank // count, len(array) * (rank + 1) // count
        with warnings.catch_warnings():
            # The map is read-only, and so is all use of the tensor.
            warnings.filterwarnings(
                "ignore", message="The given NumPy array is not writable", category=UserWarning
            )
            return cls(torch.from_numpy(array[start:stop]), start, len(array), group)

    def to(self, device: torch.device | str) -> FrozenMatrix:
        """The same slice on a device."""
        return FrozenMatrix(self.matrix.to(device), self.start, self.total, self.group)

    def gather(self, queries: Tensor) -> tuple[Tensor, slice]:
        """Every rank's queries in rank order, `(n, dim)`, and which are this rank's own; a gradient
        reaches these alone.
        """
        if self.group is None:
            return queries, slice(0, len(queries))
        told = self._gathered(
            torch.tensor([len(queries), queries.requires_grad], device=queries.device)
        )
        sizes, with_gradient = torch.stack(told).T.tolist()
        # Ranks may hold different numbers of queries, but collectives want one shape.
        padded = queries.new_zeros(max(sizes), queries.shape[1])
        padded[: len(queries)] = queries.detach()
        parts = [part[:size] for part, size in zip(self._gathered(padded), sizes, strict=True)]
        rank = dist.get_rank(self.group)
        parts[rank] = queries
        everyone = torch.cat(parts)
        if any(with_gradient) and not everyone.requires_grad and torch.is_grad_enabled():
            everyone.requires_grad_()  # a rank with no query of its own still has its part in the others' gradients
        first = sum(sizes[:rank])
        return everyone, slice(first, first + len(queries))

    def rows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Embeddings of any rows, `(len(rows), dim)`, in the dtype and on the device of `like`,
        whichever rank holds them.

        Raises:
            IndexError: There is no such row.
        """
        if len(rows) and int(rows.max()) >= self.total:
            raise IndexError(f"row {int(rows.max())} of a frozen matrix of {self.total} rows")
        local = rows - self.start
        held = (local >= 0) & (local < len(self.matrix))
        found = torch.zeros(len(rows), self.matrix.shape[1], dtype=like.dtype, device=like.device)
        found[held] = self.matrix[local[held].to(self.matrix.device)].to(found)
        return self.sum(found)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of every rank's values; it may overwrite them."""
        if self.group is not None:
            dist.all_reduce(values, dist.ReduceOp.SUM, group=self.group)
        return values

    def max(self, values: Tensor) -> Tensor:
        """The largest of every rank's values; this rank's own stay as they are."""
        if self.group is None:
            return values
        largest = values.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest

    def _gathered(self, values: Tensor) -> list[Tensor]:
        gathered = [torch.empty_like(values) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(gathered, values, group=self.group)
        return gathered
