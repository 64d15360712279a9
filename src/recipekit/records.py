"""What flows between stages: the records, their Arrow schemas, and readers that map them from disk.

Ids are mapped once, in collect, to dense row numbers; every table after it speaks of rows alone.
Texts stay on disk: the readers memory-map Arrow IPC files and fetch only the rows that are asked
for.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "CANDIDATES",
    "JUDGMENTS",
    "LABELS",
    "PASSAGES",
    "QUERIES",
    "SPLITS",
    "Bools",
    "Dataset",
    "Floats",
    "Ints",
    "Label",
    "Passage",
    "Query",
    "Rows",
    "Side",
    "TextTable",
    "Verdict",
    "lookup_sorted",
    "pair_keys",
    "positions_in_groups",
    "read_table",
    "write_table",
]

Side = Literal["query", "passage"]
Rows = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SPLITS = ("train", "dev", "test")
"""The splits of a data set, in the order of their codes in `QUERIES.split`."""


class Verdict(enum.IntEnum):
    """What a judge says of a (query, passage).

    A pair without a row is UNJUDGED, which no table stores.
    """

    UNJUDGED = -1
    NEGATIVE = 0
    POSITIVE = 1
    IGNORE = 2


@dataclass(frozen=True)
class Passage:
    """A text that can be retrieved. `id` is unique within its source; `title` may be empty."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True)
class Query:
    """A text that is searched with.

    `split` is None where the source leaves the split to the recipe.
    """

    id: str
    text: str
    split: str | None = None


@dataclass(frozen=True)
class Label:
    """A source's own word on a (query, passage): grade > 0 is a positive, grade 0 or less a judged
    negative.
    """

    query_id: str
    passage_id: str
    grade: float = 1.0


QUERIES = pa.schema(
    [
        ("id", pa.large_string()),
        ("text", pa.large_string()),
        ("split", pa.int8()),
        ("source", pa.large_string()),
    ]
)
PASSAGES = pa.schema(
    [
        ("id", pa.large_string()),
        ("title", pa.large_string()),
        ("text", pa.large_string()),
        ("source", pa.large_string()),
    ]
)
LABELS = pa.schema([("query", pa.int32()), ("passage", pa.int32()), ("grade", pa.float32())])
"""Given labels, sorted by (query, passage), without duplicates; grade > 0 is a positive."""

CANDIDATES = pa.schema(
    [
        ("query", pa.int32()),
        ("passage", pa.int32()),
        ("source_positive", pa.bool_()),
        ("score", pa.float32()),
    ]
)
"""Fused candidates, sorted by query, then by descending `score` (source positives that nobody
retrieved come last, with a null score). For every retriever NAME two more columns follow:
`rank.NAME` (int32, 1-based) and `score.NAME` (float32), null where it did not retrieve the passage.
`source_positive` marks the source's positives."""

JUDGMENTS = pa.schema(
    [
        ("query", pa.int32()),
        ("passage", pa.int32()),
        ("verdict", pa.int8()),
        ("grade", pa.float32()),
        ("confidence", pa.float32()),
        ("reason", pa.large_string()),
        ("judge", pa.dictionary(pa.int16(), pa.string())),
    ]
)
"""Three-state judgments, sorted by (query, passage), one row a pair. `judge` names who gave the
verdict: `source` for the source's own labels, else the judge's name in the recipe. grade, confidence
and reason are null where there is none."""


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table]) -> int:
    """Write batches to an Arrow IPC file and return how many rows it has.

    The batches are written as they come, so that a table larger than memory can be streamed to
    disk.
    """
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write(batch)
            rows += batch.num_rows
    return rows


def read_table(path: Path) -> pa.Table:
    """Memory-map an Arrow IPC file as a table, with no copy."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def pair_keys(
    query: npt.NDArray[Any], passage: npt.NDArray[Any], n_passages: int
) -> npt.NDArray[np.int64]:
    """One int64 per (query, passage), for sorting and set operations: query * n_passages + passage."""
    keys: npt.NDArray[np.int64] = query.astype(np.int64) * n_passages + passage
    return keys


def lookup_sorted(ascending: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> tuple[Rows, Bools]:
    """Where some values stand in a sorted array, and whether they do at all; a place means nothing
    where they do not.
    """
    if not len(ascending):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return places, ascending[places] == wanted


def positions_in_groups(ascending: npt.NDArray[Any]) -> Rows:
    """The place of each entry among those that are equal to it, from 0: of a candidate in its
    query's list. None is negative.
    """
    starts = np.flatnonzero(np.diff(ascending, prepend=-1))
    return np.arange(len(ascending)) - np.repeat(starts, np.diff(starts, append=len(ascending)))


class TextTable:
    """Queries or passages on disk, addressed by row."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._chunks: dict[str, tuple[list[pa.Array], Rows]] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def ids(self) -> list[str]:
        """All ids, by row."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    def column(self, name: str, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> list[str]:
        """Values of a column for some rows, in their order."""
        if name not in self._chunks:
            parts = self.table[name].chunks
            self._chunks[name] = parts, np.cumsum([len(part) for part in parts], dtype=np.int64)
        # Chunk by chunk: to take rows from a column of several, pyarrow copies all of it first,
        # however few they are.
        chunks, ends = self._chunks[name]
        wanted = np.asarray(rows, dtype=np.int64)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        chunk_of = np.searchsorted(ends, ascending, side="right")
        values: list[str] = []
        for chunk in np.unique(chunk_of):
            first = ends[chunk - 1] if chunk else 0
            values += chunks[chunk].take(pa.array(ascending[chunk_of == chunk] - first)).to_pylist()
        places = np.argsort(order)
        return values if (places[1:] > places[:-1]).all() else [values[place] for place in places]

    def texts(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> list[str]:
        """Texts as models and engines see them, title and text joined by a space, for some rows, in
        their order.
        """
        texts = self.column("text", rows)
        if "title" not in self.table.column_names:
            return texts
        return [
            f"{title} {text}".strip() if title else text
            for title, text in zip(self.column("title", rows), texts, strict=True)
        ]

    def chunks(self, size: int = 4096) -> Iterator[tuple[Rows, list[str]]]:
        """All texts in order, as (rows, texts), `size` at a time."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)), dtype=np.int64)
            yield rows, self.texts(rows)


class Dataset:
    """The collected data: queries with splits, passages, and the labels that the sources gave.

    `key` identifies the content: queries, passages and labels together.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    def file(self, side: Side) -> Path:
        """The file of one side's texts, ids and sources.

        What is derived from it alone (an index, embeddings) is keyed by its content.
        """
        return self.path / ("queries.arrow" if side == "query" else "passages.arrow")

    @cached_property
    def queries(self) -> TextTable:
        """Queries by row."""
        return TextTable(read_table(self.file("query")))

    @cached_property
    def passages(self) -> TextTable:
        """Passages by row."""
        return TextTable(read_table(self.file("passage")))

    @cached_property
    def labels(self) -> pa.Table:
        """Given labels, as `LABELS`."""
        return read_table(self.path / "labels.arrow")

    @cached_property
    def positives(self) -> pa.Table:
        """The source positives, as `LABELS`."""
        return self.labels.filter(pc.greater(self.labels["grade"], 0))

    def rows(self, split: str) -> Rows:
        """Rows of a split's queries, ascending. An unknown split is a KeyError."""
        if split not in SPLITS:
            raise KeyError(split)
        codes = self.queries.table["split"].to_numpy()
        return np.flatnonzero(codes == SPLITS.index(split)).astype(np.int64)
