"""Content hashes of collected data, which do not depend on how the files are written."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.dataset import Dataset

__all__ = ["data_hashes", "table_hash"]


def data_hashes(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return rows and sha256 of the queries, passages and labels of a data set."""
    tables = {
        "queries": dataset.queries.table,
        "passages": dataset.passages.table,
        "labels": dataset.labels,
    }
    return {
        name: {"rows": table.num_rows, "sha256": table_hash(table)}
        for name, table in tables.items()
    }


def table_hash(table: pa.Table) -> str:
    """Return the sha256 of a table's column names and values.

    It depends neither on the division into batches nor on the version of Arrow that wrote them.
    """
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(f"{name}\n".encode())
        digest.update(_column_hash(table[name]))
    return digest.hexdigest()


def _column_hash(column: pa.ChunkedArray) -> bytes:
    valid, lengths, values = (hashlib.sha256() for _ in range(3))
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    for chunk in column.chunks:
        valid.update(chunk.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if is_text:
            texts = pc.fill_null(chunk, "").cast(pa.large_binary())
            lengths.update(pc.binary_length(texts).to_numpy().astype("<i8").tobytes())
            values.update(_text_bytes(texts))
        else:
            numbers = pc.fill_null(chunk, 0).to_numpy(zero_copy_only=False)
            values.update(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
    return valid.digest() + lengths.digest() + values.digest()


def _text_bytes(texts: pa.Array) -> memoryview:
    """Return the bytes of all texts of an array, one after the other, without copying."""
    if len(texts) == 0:
        return memoryview(b"")
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data or b"")[int(ends[0]) : int(ends[-1])]
