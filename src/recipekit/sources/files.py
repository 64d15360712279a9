"""Rows of JSON lines, CSV, TSV and Parquet files, plain or gzipped, with their locations."""

from __future__ import annotations

import csv
import gzip
import json
import math
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from recipekit.errors import DataError
from recipekit.sources.locations import RecordLocation, Row

__all__ = [
    "Format",
    "Quoting",
    "check_folder",
    "delimited_rows",
    "file_format",
    "finite_number",
    "json_rows",
    "parquet_columns",
    "parquet_rows",
    "plain_or_gzipped",
]

Format = Literal["jsonl", "csv", "tsv", "parquet"]
Quoting = Literal["minimal", "none"]
"""How quotes are read, as in the csv module's QUOTE_MINIMAL and QUOTE_NONE."""
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""Formats by the suffix of the file name, without `.gz`."""

BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
MAX_FIELD_CHARACTERS = min(sys.maxsize, 2**31 - 1)
"""The csv module's default, 131,072 characters, is less than a long passage."""


def check_folder(folder: Path, *, expected: str = "a folder") -> None:
    """Check that a folder exists.

    Raises:
        DataError: It does not exist, or it is a file.
    """
    if not folder.exists():
        raise DataError(f"{folder}: no such folder", code="RK301")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; expected {expected}", code="RK302")


def file_format(path: Path) -> Format:
    """Return the format that the file's name shows.

    Raises:
        DataError: The suffix is unknown, or the path is a folder.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    found = FORMATS.get(suffixes[-1]) if suffixes else None
    if found is None:
        if path.is_dir():
            raise DataError(f"{path}: is a folder; expected a file", code="RK302")
        raise DataError(
            f"{path}: the name does not show the format; set `format: jsonl`, csv, tsv or parquet",
            code="RK304",
        )
    return found


def plain_or_gzipped(path: Path) -> Path:
    """Return the path itself, or the gzipped file next to it if only that one exists."""
    gzipped = path.with_name(f"{path.name}.gz")
    return gzipped if gzipped.exists() and not path.exists() else path


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON lines file. Blank lines are skipped.

    Raises:
        DataError: The file cannot be read, or a line is not UTF-8, not JSON or not an object.
    """
    row = 0
    for number, line in _lines(path):
        if not line.strip():
            continue
        row += 1
        location = RecordLocation(str(path), number, row)
        try:
            value = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at column {error.colno}"
            raise DataError(f"{location}: invalid JSON: {reason}", code="RK304") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{location}: invalid JSON: {error}", code="RK304") from error
        if not isinstance(value, dict):
            raise DataError(
                f"{location}: expected a JSON object, found {_json_type(value)}", code="RK304"
            )
        yield location, value


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a string"


def delimited_rows(path: Path, delimiter: str, *, quoting: Quoting = "minimal") -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file, by the column names in the first line.

    A quoted field may span lines. Blank lines are skipped.

    Raises:
        DataError: The file cannot be read or is not UTF-8, the header names a column twice, a row
            has more or fewer fields than the header, or quotes do not match.
    """
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(
        (line for _, line in _lines(path)),
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_MINIMAL if quoting == "minimal" else csv.QUOTE_NONE,
    )
    header: list[str] | None = None
    row, first_line = 0, 1
    try:
        for fields in reader:
            location = RecordLocation(str(path), first_line, row + 1)
            first_line = reader.line_num + 1
            if not fields:
                continue
            if header is None:
                header = _header(fields, location)
                continue
            row += 1
            if len(fields) != len(header):
                count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                raise DataError(
                    f"{location}: {count}, but the header has {len(header)}", code="RK304"
                )
            yield location, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        message = f"{path}:{first_line}: {error}"
        if quoting == "minimal" and ('"' in str(error) or "end of data" in str(error)):
            message += "; to read quotes as plain text, set `quoting: none`"
        raise DataError(message, code="RK304") from error


def _header(fields: list[str], location: RecordLocation) -> list[str]:
    names = [name.strip() for name in fields]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{location}: the header names '{repeated[0]}' more than once", code="RK305"
        )
    return names


def parquet_rows(
    path: Path, scratch: Path, columns: list[str] | None = None, batch: int = 1024
) -> Iterator[Row]:
    """Yield the rows of a Parquet file, with all columns or the named ones.

    A gzipped file is decompressed into `scratch` first.

    Raises:
        DataError: The file cannot be read or is not Parquet.
    """
    import pyarrow as pa

    with _parquet_file(path, scratch) as file:
        row = 0
        try:
            for block in file.iter_batches(batch, columns=columns):
                for values in block.to_pylist():
                    row += 1
                    yield RecordLocation(str(path), row=row), values
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{path}: row {row + 1}: {_first_line(error)}", code="RK303") from error


def parquet_columns(path: Path, scratch: Path) -> list[str]:
    """Return the column names of a Parquet file."""
    with _parquet_file(path, scratch) as file:
        return list(file.schema_arrow.names)


def _parquet_file(path: Path, scratch: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _open(path) as stream:
        plain = path
        if path.suffix == ".gz":
            plain = scratch / path.stem
            if not plain.exists():
                _decompress(path, stream, plain)
    try:
        return pq.ParquetFile(plain)
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: not a Parquet file: {_first_line(error)}", code="RK303"
        ) from error


def _decompress(path: Path, stream: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    try:
        with partial.open("wb") as sink:
            shutil.copyfileobj(stream, sink)
    except BROKEN_GZIP as error:
        raise DataError(f"{path}: not a complete gzip file: {error}", code="RK303") from error
    partial.rename(target)


def _open(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed if its name ends in .gz."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file", code="RK302")
    try:
        return cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered UTF-8 lines of a file, with line ends, without a byte order mark."""
    number = 0
    with _open(path) as stream:
        try:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if "\0" in text:
                    raise DataError(
                        f"{path}:{number}: not UTF-8 text: a zero byte, as in UTF-16 or binary "
                        "data",
                        code="RK303",
                    )
                yield number, text
        except UnicodeDecodeError as error:
            byte, position = error.object[error.start], error.start + 1
            raise DataError(
                f"{path}:{number}: not UTF-8 text: byte 0x{byte:02x} at byte {position} of the "
                "line",
                code="RK303",
            ) from error
        except BROKEN_GZIP as error:
            raise DataError(f"{path}: not a complete gzip file: {error}", code="RK303") from error
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error


def finite_number(value: Any, location: RecordLocation, name: str) -> float:
    """Return the number in a cell, which may be a number or text.

    Raises:
        DataError: The cell is empty, or its value is not a finite number.
    """
    if value is None or value == "":
        raise DataError(f"{location}: '{name}' is missing", code="RK304")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{location}: '{name}' is {value!r}, which is not a finite number", code="RK304"
        )
    return number


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
