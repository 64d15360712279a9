"""Rows from files, each with its place.

JSON lines, CSV, TSV and Parquet, plain or gzipped, streamed.
"""

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
    "delimited_rows",
    "file_format",
    "finite",
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
"""Formats by the end of a file's name, `.gz` not counted."""

BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


def file_format(path: Path) -> Format:
    """What a file's name says of its format.

    Raises:
        DataError: The name ends in nothing that is known, or is a folder's.
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
    """The path itself, or the gzipped file next to it if only that one exists."""
    gzipped = path.with_name(f"{path.name}.gz")
    return gzipped if gzipped.exists() and not path.exists() else path


def json_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSON lines file. Blank lines are skipped.

    Raises:
        DataError: The file cannot be read, or a line is not UTF-8, not JSON or not an object.
    """
    row = 0
    for number, line in _lines(path):
        if not line.strip():
            continue
        row += 1
        place = RecordLocation(str(path), number, row)
        try:
            value = json.loads(line.rstrip())
        except (ValueError, RecursionError) as error:
            reason = (
                f"{error.msg} at column {error.colno}"
                if isinstance(error, json.JSONDecodeError)
                else str(error)
            )
            raise DataError(f"{place}: invalid JSON: {reason}", code="RK304") from error
        if not isinstance(value, dict):
            raise DataError(f"{place}: expected a JSON object, found {_kind(value)}", code="RK304")
        yield place, value


def delimited_rows(path: Path, delimiter: str, *, quoting: Quoting = "minimal") -> Iterator[Row]:
    """The rows of a CSV or TSV file by the names in its first line; a quoted field may span lines.
    Blank lines are skipped.

    Raises:
        DataError: The file cannot be read, is not UTF-8, has no header or a name in it twice, a row
            has more or fewer fields than the header, or quotes do not match.
    """
    csv.field_size_limit(
        min(sys.maxsize, 2**31 - 1)
    )  # the default, 131,072 characters, is less than a long passage
    lines = (line for _, line in _lines(path))
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_MINIMAL if quoting == "minimal" else csv.QUOTE_NONE,
    )
    header: list[str] | None = None
    row, begin = 0, 1
    try:
        for fields in reader:
            place, begin = RecordLocation(str(path), begin, row), reader.line_num + 1
            if not fields:
                continue
            if header is None:
                header = _header(fields, place)
                continue
            row += 1
            if len(fields) != len(header):
                raise DataError(
                    f"{place}: {_count(len(fields), 'field')}, but the header has {len(header)}",
                    code="RK304",
                )
            yield place._replace(row=row), dict(zip(header, fields, strict=True))
    except csv.Error as error:
        about_quotes = quoting == "minimal" and ('"' in str(error) or "end of data" in str(error))
        hint = "; to read quotes as plain text, set `quoting: none`" if about_quotes else ""
        raise DataError(f"{path}:{begin}: {error}{hint}", code="RK304") from error


def _header(fields: list[str], place: RecordLocation) -> list[str]:
    names = [name.strip() for name in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{place}: the header names '{twice[0]}' more than once", code="RK305")
    return names


def parquet_rows(
    path: Path, scratch: Path, columns: list[str] | None = None, batch: int = 1024
) -> Iterator[Row]:
    """The rows of a Parquet file, some columns or all. A gzipped one is unpacked into `scratch`
    first.

    Raises:
        DataError: The file cannot be read or is not Parquet.
    """
    import pyarrow as pa

    with _parquet(path, scratch) as file:
        row = 0
        try:
            for block in file.iter_batches(batch, columns=columns):
                for values in block.to_pylist():
                    row += 1
                    yield RecordLocation(str(path), row=row), values
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{path}: row {row + 1}: {_one_line(error)}", code="RK303") from error


def parquet_columns(path: Path, scratch: Path) -> list[str]:
    """The names of a Parquet file's columns."""
    with _parquet(path, scratch) as file:
        return list(file.schema_arrow.names)


def _parquet(path: Path, scratch: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _opened(path) as stream:
        plain = path
        if path.suffix == ".gz":
            plain = scratch / path.stem
            if not plain.exists():
                _unpack(path, stream, plain)
    try:
        return pq.ParquetFile(plain)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {_one_line(error)}", code="RK303") from error


def _unpack(path: Path, stream: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as sink:
            shutil.copyfileobj(stream, sink)
    except BROKEN_GZIP as error:
        raise DataError(f"{path}: not a complete gzip file: {error}", code="RK303") from error
    part.rename(target)


def _opened(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked if its name ends in .gz."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file", code="RK302")
    try:
        return cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered UTF-8 lines of a file, with their ends, without a byte order mark."""
    number = 0
    with _opened(path) as stream:
        try:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if "\0" in text:
                    raise DataError(
                        f"{path}:{number}: not UTF-8 text: a zero byte, as in UTF-16 or binary data",
                        code="RK303",
                    )
                yield number, text
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise DataError(
                f"{path}:{number}: not UTF-8 text: byte 0x{byte:02x} at byte {error.start + 1} of the line",
                code="RK303",
            ) from error
        except BROKEN_GZIP as error:
            raise DataError(f"{path}: not a complete gzip file: {error}", code="RK303") from error
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}", code="RK301") from error


def finite(value: Any, place: RecordLocation, name: str) -> float:
    """A number that a file gives as number or text.

    Raises:
        DataError: It is none, or is infinite or NaN.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        shown = (
            "missing"
            if value is None or value == ""
            else f"{value!r}, which is not a finite number"
        )
        raise DataError(f"{place}: '{name}' is {shown}", code="RK304")
    return number


def _kind(value: Any) -> str:
    kinds = {
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        dict: "an object",
    }
    return "null" if value is None else kinds.get(type(value), f"a {type(value).__name__}")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _one_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
