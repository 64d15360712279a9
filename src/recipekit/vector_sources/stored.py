"""Vectors from outside as the embeddings of the collected passages, in the form of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Progress, VectorSource, VectorSourceSpec
from recipekit.encoding.embed import create_file
from recipekit.engines.hits import ExternalIds
from recipekit.errors import DataError
from recipekit.tables import TextTable

__all__ = ["store_vectors"]

SHOWN = 3
"""Passages that a message names."""


def store_vectors(
    spec: VectorSourceSpec,
    vectors: VectorSource,
    passages: TextTable,
    folder: Path,
    progress: Progress,
) -> None:
    """Write the vectors of all passages into `folder`, which `open_embeddings` opens.

    Vectors of passages that were not collected are left out. Those that are compared by cosine are
    scaled to length 1.

    Args:
        spec: Where the vectors come from, for messages.
        vectors: The vectors.
        passages: The collected passages.
        folder: An empty folder.
        progress: Where the work is shown.

    Raises:
        DataError: A passage has no vector or several, or a vector cannot be used.
    """
    target = _Target(spec, vectors, passages, folder)
    with progress.track("read vectors", total=len(passages), unit="vectors") as tracker:
        for chunk in vectors.read():
            tracker.advance(target.add(chunk.ids, np.asarray(chunk.vectors)))
    target.finish()
    if target.others:
        progress.info(
            f"{spec.described()} holds {target.others:,} vectors of passages that were not "
            "collected; they are left out"
        )


class _Target:
    """The matrix that is filled."""

    def __init__(
        self, spec: VectorSourceSpec, vectors: VectorSource, passages: TextTable, folder: Path
    ) -> None:
        self.name, self.passages, self.folder = spec.described(), passages, folder
        self.similarity, shape = vectors.similarity, (len(passages), vectors.dimension)
        self.shape, path = shape, folder / "matrix"
        create_file(path, shape[0] * shape[1] * 4)
        self.matrix: Any = np.memmap(path, np.float32, "r+", shape=shape) if shape[0] else None
        self.is_there = np.zeros(len(passages), dtype=bool)
        self.ids = ExternalIds(passages, source=spec.source, index=self.name, max_unknown_ids=1.0)
        self.others = self.read = 0

    def add(self, ids: Sequence[str] | None, vectors: Floats) -> int:
        """Add a chunk; return how many of its vectors belong to passages."""
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[1]:
            raise DataError(
                f"{self.name}: vectors of {self.shape[1]} dimensions are expected, found "
                f"{'x'.join(map(str, vectors.shape))}",
                code="RK350",
            )
        rows = self._in_order(len(vectors)) if ids is None else self.ids.rows(ids)
        self.read += len(vectors)
        known = rows >= 0
        self.others += int((~known).sum())
        rows, vectors = rows[known], vectors[known].astype(np.float32)
        self._check_new(rows)
        self._check_values(rows, vectors)
        if self.similarity == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        if len(rows):
            self.matrix[rows] = vectors
        self.is_there[rows] = True
        return len(rows)

    def finish(self) -> None:
        """Check that every passage has a vector, and write the summary.

        Raises:
            DataError: A passage has none.
        """
        missing = np.flatnonzero(~self.is_there)
        if len(missing):
            raise DataError(
                f"{self.name}: {len(missing):,} of {self.shape[0]:,} passages have no vector there:"
                f" {self._named(missing)}. Add them, or do not collect these passages",
                code="RK350",
            )
        if self.matrix is not None:
            self.matrix.flush()
        summary = {"texts": self.shape[0], "dimension": self.shape[1], "dtype": "float32"}
        write_json(self.folder / "embeddings.json", {**summary, "similarity": self.similarity})

    def _in_order(self, count: int) -> Rows:
        """Return the next rows for vectors without ids."""
        if self.read + count > self.shape[0]:
            raise DataError(
                f"{self.name}: has more vectors than the {self.shape[0]:,} passages that were "
                "collected: state the passage of each row with `ids`",
                code="RK350",
            )
        return np.arange(self.read, self.read + count, dtype=np.int64)

    def _check_new(self, rows: Rows) -> None:
        _, first, counts = np.unique(rows, return_index=True, return_counts=True)
        twice = np.union1d(rows[first[counts > 1]], rows[self.is_there[rows]])
        if len(twice):
            raise DataError(
                f"{self.name}: several vectors have the same passage id: {self._named(twice)}. "
                "Each passage needs one vector",
                code="RK350",
            )

    def _check_values(self, rows: Rows, vectors: Floats) -> None:
        bad = ~np.isfinite(vectors).all(axis=1)
        if bad.any():
            raise DataError(
                f"{self.name}: {self._named(rows[bad])}: the vector has NaN or infinity",
                code="RK350",
            )
        if self.similarity == "cosine" and (zero := ~vectors.any(axis=1)).any():
            raise DataError(
                f"{self.name}: {self._named(rows[zero])}: the vector is zero, which has no cosine",
                code="RK350",
            )

    def _named(self, rows: Rows) -> str:
        """Return the ids of the first of some passages."""
        ids = ", ".join(f"'{one}'" for one in self.passages.column("id", rows[:SHOWN]))
        return f"{ids} and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ids
