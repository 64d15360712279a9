"""Vectors from outside as the embeddings of collected texts, in the form of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.arrays import Floats, Rows, lookup_sorted
from recipekit.artifacts.store import write_json
from recipekit.component import Progress, VectorSource, VectorSourceSpec
from recipekit.encoding.block_files import create_file
from recipekit.engines.hits import ExternalIds
from recipekit.errors import DataError
from recipekit.records import Side, Similarity
from recipekit.tables import TextTable

__all__ = ["WantedTexts", "store_vectors"]

SHOWN = 3
"""Texts that a message names."""


@dataclass(frozen=True)
class WantedTexts:
    """The texts whose vectors are stored."""

    side: Side
    table: TextTable
    """The collected passages, or queries."""
    rows: Rows | None = None
    """The rows of the table whose vectors are needed, ascending; None for all."""

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)

    @property
    def named(self) -> str:
        """What they are called in messages."""
        return "queries" if self.side == "query" else "passages"

    def ids(self, positions: Rows) -> list[str]:
        """Return the ids of some of them, by position."""
        rows = positions if self.rows is None else self.rows[positions]
        return self.table.column("id", rows)

    def positions(self, rows: Rows) -> Rows:
        """Return the positions of rows of the table, -1 for those that are not needed."""
        if self.rows is None:
            return rows
        at, is_needed = lookup_sorted(self.rows, rows)
        positions: Rows = np.where(is_needed, at, -1)
        return positions


def store_vectors(
    spec: VectorSourceSpec,
    vectors: VectorSource,
    texts: WantedTexts,
    similarity: Similarity,
    folder: Path,
    progress: Progress,
) -> None:
    """Write the vectors of all wanted texts into `folder`, which `open_embeddings` opens.

    Vectors of texts that were not collected are left out. Those that are compared by cosine are
    scaled to length 1.

    Args:
        spec: Where the vectors come from, for messages.
        vectors: The vectors.
        texts: The texts.
        similarity: How the vectors are compared.
        folder: An empty folder.
        progress: Where the work is shown.

    Raises:
        DataError: A text has no vector or several, or a vector cannot be used.
    """
    target = _Target(spec, vectors.dimension, texts, similarity, folder)
    with progress.track("read vectors", total=len(texts), unit="vectors") as tracker:
        for chunk in vectors.read():
            tracker.advance(target.add(chunk.ids, np.asarray(chunk.vectors)))
    target.finish()
    if target.others:
        progress.info(
            f"{spec.described()} holds {target.others:,} vectors of {texts.named} that were not "
            "collected; they are left out"
        )


class _Target:
    """The matrix that is filled."""

    def __init__(
        self,
        spec: VectorSourceSpec,
        dimension: int,
        texts: WantedTexts,
        similarity: Similarity,
        folder: Path,
    ) -> None:
        self.name, self.texts, self.folder = spec.described(), texts, folder
        self.similarity, shape = similarity, (len(texts), dimension)
        self.shape, path = shape, folder / "matrix"
        create_file(path, shape[0] * shape[1] * 4)
        self.matrix: Any = np.memmap(path, np.float32, "r+", shape=shape) if shape[0] else None
        self.is_there = np.zeros(len(texts), dtype=bool)
        self.ids = ExternalIds(
            texts.table,
            source=spec.source,
            index=self.name,
            max_unknown_ids=1.0,
            named=texts.named,
        )
        self.others = self.read = 0

    def add(self, ids: Sequence[str] | None, vectors: Floats) -> int:
        """Add a chunk; return how many of its vectors belong to wanted texts."""
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[1]:
            raise DataError(
                f"{self.name}: vectors of {self.shape[1]} dimensions are expected, found "
                f"{'x'.join(map(str, vectors.shape))}",
                code="RK350",
            )
        rows = self._in_order(len(vectors)) if ids is None else self.ids.rows(ids)
        self.read += len(vectors)
        self.others += int((rows < 0).sum())
        rows = np.where(rows < 0, -1, self.texts.positions(rows))
        wanted = rows >= 0
        rows, vectors = rows[wanted], vectors[wanted].astype(np.float32)
        self._check_new(rows)
        self._check_values(rows, vectors)
        if self.similarity == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        if len(rows):
            self.matrix[rows] = vectors
        self.is_there[rows] = True
        return len(rows)

    def finish(self) -> None:
        """Check that every text has a vector, and write the summary.

        Raises:
            DataError: A text has none.
        """
        missing = np.flatnonzero(~self.is_there)
        if len(missing):
            texts = self.texts.named
            raise DataError(
                f"{self.name}: {len(missing):,} of {self.shape[0]:,} {texts} have no vector: "
                f"{self._named(missing)}. Add them, or do not collect these {texts}",
                code="RK350",
            )
        if self.matrix is not None:
            self.matrix.flush()
        summary = {"texts": self.shape[0], "dimension": self.shape[1], "dtype": "float32"}
        write_json(self.folder / "embeddings.json", {**summary, "similarity": self.similarity})

    def _in_order(self, count: int) -> Rows:
        """Return the next rows of the table for vectors without ids."""
        collected, texts = len(self.texts.table), self.texts.named
        if self.read + count > collected:
            raise DataError(
                f"{self.name}: has more vectors than the {collected:,} {texts} that were "
                "collected: state the id of each row's text with `ids`",
                code="RK350",
            )
        return np.arange(self.read, self.read + count, dtype=np.int64)

    def _check_new(self, rows: Rows) -> None:
        _, first, counts = np.unique(rows, return_index=True, return_counts=True)
        twice = np.union1d(rows[first[counts > 1]], rows[self.is_there[rows]])
        if len(twice):
            raise DataError(
                f"{self.name}: several vectors have the same {self.texts.side} id: "
                f"{self._named(twice)}. Each {self.texts.side} needs one vector",
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
        """Return the ids of the first of some texts."""
        ids = ", ".join(f"'{one}'" for one in self.texts.ids(rows[:SHOWN]))
        return f"{ids} and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ids
