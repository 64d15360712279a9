"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from recipekit.data_files.locations import RecordLocation, Row
from recipekit.data_files.text_lines import text_lines
from recipekit.errors import DataError

__all__ = ["DELIMITERS", "Quoting", "delimited_header", "delimited_rows", "delimiter_advice"]

Quoting = Literal["minimal", "none"]
"""How quotes are read, as in the csv module's QUOTE_MINIMAL and QUOTE_NONE."""
Warn = Callable[[str], None]
Fields = tuple[RecordLocation, list[str], list[str]]
"""The location of a row, its fields, and its lines in the file."""

MAX_FIELD_CHARACTERS: Final = min(sys.maxsize, 2**31 - 1)
"""The csv module's default, 131,072 characters, is less than a long passage."""
DELIMITERS: Final = (";", "\t", ",", "|")
_EXCEL_SEPARATOR: Final = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)


def delimited_header(
    path: Path, delimiter: str, *, quoting: Quoting = "minimal"
) -> tuple[RecordLocation, list[str]] | None:
    """Return the column names of a CSV or TSV file with their location; None for an empty file.

    Raises:
        DataError: See `delimited_rows`.
    """
    split = _quoted_fields if quoting == "minimal" else _plain_fields
    for location, fields, _ in split(path, text_lines(path), delimiter):
        return location, _header(fields, location, quoting)
    return None


def delimited_rows(
    path: Path,
    delimiter: str,
    *,
    quoting: Quoting = "minimal",
    encoding: str | None = None,
    warn: Warn | None = None,
) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file, by the column names in its first line.

    Blank lines are skipped. A first line `sep=;`, as Excel writes it, names the delimiter.

    Args:
        path: The file, which may be compressed.
        delimiter: The character between fields.
        quoting: `minimal`: double quotes may enclose a field, which may then span lines. `none`:
            quotes are text, and every line is a row.
        encoding: As in `text_lines`.
        warn: Receives a line at the end if quotes may have been read in the wrong way.

    Raises:
        DataError: The file cannot be read or is not text, the header names a column twice, a row
            has more or fewer fields than the header, or quotes do not match.
    """
    lines = text_lines(path, encoding)
    first = next(lines, None)
    if first is None:
        return
    found = _EXCEL_SEPARATOR.match(first[1])
    if found:
        delimiter = found.group(1)
    else:
        lines = _with_first(first, lines)
    split = _quoted_fields if quoting == "minimal" else _plain_fields
    doubts = _Doubts(path, delimiter, quoting)
    header: list[str] | None = None
    row = 0
    for location, fields, text in split(path, lines, delimiter):
        if header is None:
            header = _header(fields, location, quoting)
            continue
        row += 1
        location = location._replace(row=row)
        if len(fields) != len(header):
            raise _wrong_length(location, fields, header, text, quoting)
        if warn:
            doubts.notice(location, fields, text)
        yield location, dict(zip(header, fields, strict=True))
    if warn:
        doubts.report(warn)


def delimiter_advice(columns: Sequence[str]) -> str | None:
    """Return which delimiter to set, if a header that was read as one column contains one."""
    for character in DELIMITERS if len(columns) == 1 else ():
        if character in columns[0]:
            written = "\\t" if character == "\t" else character
            return f'to split it at {character!r}, set `delimiter: "{written}"`'
    return None


def _with_first(
    first: tuple[int, str], rest: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _plain_fields(path: Path, lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[Fields]:
    for number, line in lines:
        text = line.rstrip("\r\n")
        if text:
            yield RecordLocation(str(path), number), text.split(delimiter), [line]


def _quoted_fields(
    path: Path, lines: Iterator[tuple[int, str]], delimiter: str
) -> Iterator[Fields]:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    numbers: list[int] = []
    text: list[str] = []

    def consumed() -> Iterator[str]:
        for number, line in lines:
            numbers.append(number)
            text.append(line)
            yield line

    reader = csv.reader(consumed(), delimiter=delimiter, strict=True)
    rows = 0
    try:
        for fields in reader:
            if fields:
                yield RecordLocation(str(path), numbers[0]), fields, list(text)
                rows += 1
            numbers.clear()
            text.clear()
    except csv.Error as error:
        line = numbers[0] if numbers else 1
        raise _csv_error(f"{path}:{line}", error, is_header=not rows, text=text) from error


def _csv_error(where: str, error: csv.Error, *, is_header: bool, text: list[str]) -> DataError:
    reason = str(error)
    if "new-line character" in reason:
        return DataError(
            f"{where}: a carriage return (CR) in a field without quotes; the other lines end with "
            "LF",
            code="RK304",
        )
    advice = delimiter_advice([text[0].replace(",", "")]) if is_header and text else None
    if advice:
        return DataError(f"{where}: {reason}; {advice}", code="RK305")
    if '"' in reason or "end of data" in reason:
        reason += "; to read quotes as plain text, set `quoting: none`"
    return DataError(f"{where}: {reason}", code="RK304")


def _header(fields: list[str], location: RecordLocation, quoting: Quoting) -> list[str]:
    names = [name.strip() for name in fields]
    if quoting == "none" and any(_is_enclosed(name) for name in names):
        raise DataError(
            f"{location}: the header's names are in quotes; remove all quotes, or, in the source "
            "`pairs`, set `quoting: minimal`",
            code="RK305",
        )
    # Spreadsheets end lines with the commas of empty columns, which have no names.
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{location}: the header names '{repeated[0]}' more than once", code="RK305"
        )
    return names


def _wrong_length(
    location: RecordLocation,
    fields: list[str],
    header: list[str],
    text: list[str],
    quoting: Quoting,
) -> DataError:
    count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
    message = f"{location}: {count}, but the header has {len(header)}"
    line = "".join(text)
    if "\r" in line.rstrip("\r\n"):
        message += "; the line contains a carriage return (CR), while others end with LF"
    elif quoting == "none" and '"' in line:
        message += "; if quotes enclose fields in this file, set `quoting: minimal`"
    return DataError(message, code="RK304")


def _is_enclosed(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


class _Doubts:
    """Rows whose quotes can be read in two ways."""

    def __init__(self, path: Path, delimiter: str, quoting: Quoting) -> None:
        self.path, self.delimiter, self.quoting = path, delimiter, quoting
        self.count = 0
        self.first: RecordLocation | None = None

    def notice(self, location: RecordLocation, fields: list[str], text: list[str]) -> None:
        """Count a row if it is in doubt."""
        if self.quoting == "none":
            in_doubt = any(map(_is_enclosed, fields))
        else:
            # A quote in a text can swallow the rows up to the next quote.
            in_doubt = len(text) > 1 and all(
                line.count(self.delimiter) == len(fields) - 1 for line in text
            )
        if in_doubt:
            self.count += 1
            self.first = self.first or location

    def report(self, warn: Warn) -> None:
        """Warn about the rows in doubt, if there are any."""
        if not self.count:
            return
        rows = "1 row has" if self.count == 1 else f"{self.count} rows have"
        if self.quoting == "none":
            warn(
                f"{self.path}: {rows} a field in quotes, which are read as part of the text; if "
                f"they enclose the field, set `quoting: minimal`. The first is {self.first}"
            )
        else:
            warn(
                f"{self.path}: {rows} a quoted field of several lines that look like rows of their "
                "own; if quotes are plain text in this file, set `quoting: none`. The first is "
                f"{self.first}"
            )
