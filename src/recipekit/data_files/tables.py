"""Rows of Parquet and Arrow files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from recipekit.data_files.compression import (
    is_compressed,
    open_bytes,
    read_errors,
    without_compression,
)
from recipekit.data_files.locations import RecordLocation, Row
from recipekit.errors import DataError

__all__ = ["TableFormat", "table_batches", "table_columns", "table_rows"]

TableFormat = Literal["parquet", "arrow"]
NAMES = {"parquet": "Parquet", "arrow": "Arrow"}


def table_rows(
    path: Path,
    format: TableFormat,
    scratch: Path,
    columns: list[str] | None = None,
    batch: int = 1024,
) -> Iterator[Row]:
    """Yield the rows of a Parquet or Arrow file, with all columns or the named ones.

    A compressed file is decompressed into `scratch` first.

    Raises:
        DataError: The file cannot be read, is not of this format, or names a column twice.
    """
    row = 0
    for block in table_batches(path, format, scratch, columns, batch):
        with _table_errors(path, f"{path}: row {row + 1}"):
            values = block.to_pylist()
        for one in values:
            row += 1
            yield RecordLocation(str(path), row=row), one


def table_columns(path: Path, format: TableFormat, scratch: Path) -> list[str]:
    """Return the column names of a Parquet or Arrow file.

    Raises:
        DataError: As `table_rows`.
    """
    plain = _decompressed(path, scratch)
    kind = "an Arrow" if format == "arrow" else "a Parquet"
    with _table_errors(path, f"{path}: not {kind} file"):
        names = _parquet_names(plain) if format == "parquet" else _arrow_names(plain)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: has more than one column '{repeated[0]}'", code="RK305")
    return names


def table_batches(
    path: Path,
    format: TableFormat,
    scratch: Path,
    columns: list[str] | None = None,
    batch: int = 1024,
) -> Iterator[Any]:
    """Yield the record batches of a Parquet or Arrow file; see `table_rows`."""
    table_columns(path, format, scratch)
    plain = _decompressed(path, scratch)
    with _table_errors(path, str(path)):
        if format == "parquet":
            yield from _parquet_batches(plain, columns, batch)
        else:
            yield from _arrow_batches(plain, columns, batch)


def _parquet_names(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _parquet_batches(path: Path, columns: list[str] | None, batch: int) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch, columns=columns)


def _arrow_names(path: Path) -> list[str]:
    with _arrow_reader(path) as reader:
        return list(reader.schema.names)


def _arrow_batches(path: Path, columns: Sequence[str] | None, batch: int) -> Iterator[Any]:
    with _arrow_reader(path) as reader:
        count = getattr(reader, "num_record_batches", None)
        blocks = reader if count is None else map(reader.get_batch, range(count))
        for block in blocks:
            chosen = block if columns is None else block.select(list(columns))
            for start in range(0, chosen.num_rows, batch):
                yield chosen.slice(start, batch)


@contextmanager
def _arrow_reader(path: Path) -> Iterator[Any]:
    """Open an Arrow file in the file format, or in the stream format that `datasets` caches."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        with pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source) as reader:
            yield reader


@contextmanager
def _table_errors(path: Path, message: str) -> Iterator[None]:
    import pyarrow as pa

    with read_errors(path):
        try:
            yield
        except (pa.ArrowException, UnicodeDecodeError) as error:
            lines = str(error).splitlines()
            reason = lines[0] if lines else type(error).__name__
            raise DataError(f"{message}: {reason}", code="RK303") from error


def _decompressed(path: Path, scratch: Path) -> Path:
    """Return the file, or its decompressed copy in `scratch`."""
    if not is_compressed(path):
        return path
    target = scratch / without_compression(path).name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    with read_errors(path), open_bytes(path) as stream, partial.open("wb") as sink:
        shutil.copyfileobj(stream, sink)
    partial.rename(target)
    return target
