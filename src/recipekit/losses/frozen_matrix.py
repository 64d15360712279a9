"""`FrozenMatrix`: the embeddings of one side that training keeps fixed, sliced over the ranks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from recipekit.component import Ranks, SingleProcess

__all__ = ["FrozenMatrix"]


@dataclass(frozen=True)
class FrozenMatrix:
    """All embeddings of one side, or this rank's slice of them.

    With several ranks the methods are collective: every rank calls them, in the same order.
    """

    matrix: Tensor
    """Rows `start` to `start + len(matrix)`, (n_local, dim), of float32, float16, bfloat16 or
    float64, on any device. A memory-mapped file is read one tile at a time, also where the tiles
    are needed on a GPU."""
    start: int
    """The first row of this rank's slice."""
    total: int
    """Number of rows that all ranks hold together."""
    ranks: Ranks = field(default_factory=SingleProcess)
    """The ranks that hold the slices."""
    dimensions: int | None = None
    """How many leading dimensions `tile` and `rows` return; None returns all."""
    normalized: bool = False
    """Whether they scale what they return to length 1."""

    @property
    def stop(self) -> int:
        """The row after the last of this rank's slice."""
        return self.start + len(self.matrix)

    @classmethod
    def whole(cls, matrix: Tensor) -> FrozenMatrix:
        """Wrap a matrix that this process holds alone."""
        return cls(matrix, 0, len(matrix))

    @classmethod
    def slice_of(cls, array: npt.NDArray[Any], ranks: Ranks) -> FrozenMatrix:
        """Return this rank's even slice of an array `(total, dim)` that every rank can read.

        The array is usually memory-mapped; nothing is copied.
        """
        start, stop = (len(array) * rank // ranks.count for rank in (ranks.rank, ranks.rank + 1))
        with warnings.catch_warnings():
            # The memory map is read-only, and the tensor is only read.
            warnings.filterwarnings(
                "ignore", message="The given NumPy array is not writable", category=UserWarning
            )
            return cls(torch.from_numpy(array[start:stop]), start, len(array), ranks)

    def to(self, device: torch.device | str) -> FrozenMatrix:
        """Return the same slice on a device."""
        return replace(self, matrix=self.matrix.to(device))

    def prefix(self, dimensions: int, *, normalized: bool) -> FrozenMatrix:
        """Return the leading dimensions of the same rows; they are cut when they are read."""
        return replace(self, dimensions=dimensions, normalized=normalized)

    def tile(self, first: int, last: int, like: Tensor) -> Tensor:
        """Return some rows of this rank's slice, (last - first, dim).

        Args:
            first: The first row, counted in the slice.
            last: The row after the last.
            like: A tensor of the dtype and device to return.
        """
        # The device comes first: half-precision rows take half the time to copy.
        rows = self.matrix[first:last, : self.dimensions].to(like.device)
        return self._cut(rows.to(like.dtype))

    def _cut(self, rows: Tensor) -> Tensor:
        rows = rows[:, : self.dimensions]
        return torch.nn.functional.normalize(rows, dim=1) if self.normalized else rows

    def gather(self, queries: Tensor) -> tuple[Tensor, slice]:
        """Gather every rank's queries in rank order.

        Returns:
            The queries `(n, dim)`, and the slice that is this rank's own. Gradients reach only
            this rank's queries.
        """
        if self.ranks.count == 1:
            return queries, slice(0, len(queries))
        parts = self.ranks.gather(queries)
        first = sum(len(part) for part in parts[: self.ranks.rank])
        parts[self.ranks.rank] = queries
        all_queries = torch.cat(parts)
        needs_graph = self.ranks.max(
            torch.tensor(float(queries.requires_grad), device=queries.device)
        )
        if needs_graph > 0 and not all_queries.requires_grad and torch.is_grad_enabled():
            # A rank without queries still computes its slice's share of the others' gradients.
            all_queries.requires_grad_()
        return all_queries, slice(first, first + len(queries))

    def rows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return the embeddings of any rows, on whichever rank they are.

        Args:
            rows: Row numbers, int64 (m,).
            like: A tensor of the dtype and device to return.

        Returns:
            `(m, dim)`.

        Raises:
            IndexError: A row is out of range.
        """
        if len(rows) and int(rows.max()) >= self.total:
            raise IndexError(f"row {int(rows.max())} of a frozen matrix of {self.total} rows")
        held, local = self._held(rows)
        found = torch.zeros(len(rows), self.matrix.shape[1], dtype=like.dtype, device=like.device)
        found[held] = self.matrix[local].to(found)
        return self._cut(self.sum(found))

    def replace_rows(self, rows: Tensor, embeddings: Tensor) -> None:
        """Write new embeddings of any rows into this rank's slice, as far as it has them.

        Args:
            rows: Row numbers without duplicates, int64 (m,).
            embeddings: Their embeddings, (m, dim), on the device of `rows`.
        """
        held, local = self._held(rows)
        self.matrix[local] = embeddings[held].to(self.matrix)

    def _held(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows are in this rank's slice, as a mask, and where those are in it."""
        held = (rows >= self.start) & (rows < self.stop)
        return held, (rows[held] - self.start).to(self.matrix.device)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of every rank's values; it may overwrite them."""
        return self.ranks.sum(values)

    def max(self, values: Tensor) -> Tensor:
        """Return the element-wise maximum of every rank's values, which stay unchanged."""
        return self.ranks.max(values)
