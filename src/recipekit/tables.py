"""The Arrow tables that stages exchange: schemas, a writer, and readers that map files from disk.

`collect` maps ids to dense row numbers once; every later table refers to queries and passages by
row. Texts stay on disk: readers memory-map Arrow IPC files and fetch only the requested rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Rows

__all__ = [
    "CANDIDATES",
    "JUDGMENTS",
    "LABELS",
    "PASSAGES",
    "QUERIES",
    "TextTable",
    "read_table",
    "write_table",
]

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
"""Source labels, sorted by (query, passage), without duplicates; grade > 0 is a source positive."""

CANDIDATES = pa.schema(
    [
        ("query", pa.int32()),
        ("passage", pa.int32()),
        ("source_positive", pa.bool_()),
        ("score", pa.float32()),
    ]
)
"""Fused candidates, sorted by query, then by descending `score`. Source positives that no retriever
found come last, with a null score. Each retriever NAME adds two columns: `rank.NAME` (int32,
1-based) and `score.NAME` (float32), null where it did not retrieve the passage."""

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
"""Three-state judgments, sorted by (query, passage), one row per pair. `judge` is `source` for
source labels, otherwise the judge's name in the recipe. grade, confidence and reason may be null.
"""


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table]) -> int:
    """Write batches to an Arrow IPC file and return the number of rows.

    Each batch is written as it arrives, so a table larger than memory can be streamed to disk.
    """
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write(batch)
            rows += batch.num_rows
    return rows


def read_table(path: Path) -> pa.Table:
    """Memory-map an Arrow IPC file as a table, without copying."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


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
        """Return a column's values for some rows, in the order of `rows`."""
        if name not in self._chunks:
            parts = self.table[name].chunks
            self._chunks[name] = parts, np.cumsum([len(part) for part in parts], dtype=np.int64)
        # Chunk by chunk: pyarrow copies a whole chunked column before it takes rows from it.
        chunks, ends = self._chunks[name]
        wanted = np.asarray(rows, dtype=np.int64)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        chunk_of = np.searchsorted(ends, ascending, side="right")
        values: list[str] = []
        for chunk in np.unique(chunk_of):
            first = ends[chunk - 1] if chunk else 0
            values += chunks[chunk].take(pa.array(ascending[chunk_of == chunk] - first)).to_pylist()
        positions = np.argsort(order)
        if (positions[1:] > positions[:-1]).all():
            return values
        return [values[position] for position in positions]

    def texts(self, rows: npt.NDArray[np.integer[Any]] | Sequence[int]) -> list[str]:
        """Return texts as models and engines see them, in the order of `rows`.

        A passage's title and text are joined by a space.
        """
        texts = self.column("text", rows)
        if "title" not in self.table.column_names:
            return texts
        return [
            f"{title} {text}".strip() if title else text
            for title, text in zip(self.column("title", rows), texts, strict=True)
        ]

    def chunks(self, size: int = 4096) -> Iterator[tuple[Rows, list[str]]]:
        """Yield all texts in order, as (rows, texts), `size` at a time."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)), dtype=np.int64)
            yield rows, self.texts(rows)
