"""Rows of JSON lines files, and of files with one JSON array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from recipekit.data_files.locations import RecordLocation, Row
from recipekit.data_files.text_lines import text_lines
from recipekit.errors import DataError

__all__ = ["json_rows"]

_ARRAY_START: Final = re.compile(r"\s*\[\s*(\{|\]|$)")
_SPACE: Final = re.compile(r"\s*")


class _Repeated(dict[str, Any]):
    """An object of a file that names a key twice."""

    key: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeated = _Repeated(values)
    keys = [key for key, _ in pairs]
    repeated.key = next(key for key in keys if keys.count(key) > 1)
    return repeated


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object)


def json_rows(path: Path, encoding: str | None = None) -> Iterator[Row]:
    """Yield the objects of a JSON lines file, or of an array that is the whole file.

    Blank lines are skipped. An array is read into memory as a whole.

    Raises:
        DataError: The file cannot be read, or a line is not text, not JSON or not an object, or an
            object names a key twice.
    """
    row = 0
    lines = text_lines(path, encoding)
    for number, line in lines:
        if not line.strip():
            continue
        if row == 0 and _ARRAY_START.match(line):
            rest = "".join(text for _, text in lines)
            yield from _array_rows(path, number, line + rest)
            return
        row += 1
        location = RecordLocation(str(path), number, row)
        try:
            value = _DECODER.decode(line.rstrip())
        except (ValueError, RecursionError) as error:
            raise _invalid(location, error, line.strip()) from error
        yield location, _checked(value, location)


def _array_rows(path: Path, first_line: int, text: str) -> Iterator[Row]:
    """Yield the objects of a JSON array."""
    position = text.index("[") + 1
    line, counted, row = first_line, 0, 0
    while True:
        position = _after_space(text, position)
        line += text.count("\n", counted, position)
        counted = position
        location = RecordLocation(str(path), line, row + 1)
        if text[position : position + 1] == "]":
            break
        try:
            value, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            place = RecordLocation(str(path), first_line + error.lineno - 1)
            raise _invalid(place, error) from error
        except (ValueError, RecursionError) as error:
            raise _invalid(location, error) from error
        row += 1
        yield location, _checked(value, location)
        position = _after_space(text, position)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            line = first_line + text.count("\n", 0, position)
            raise DataError(f"{path}:{line}: invalid JSON: expected ',' or ']'", code="RK304")
    end = _after_space(text, position + 1)
    if end < len(text):
        line = first_line + text.count("\n", 0, end)
        raise DataError(f"{path}:{line}: text after the end of the JSON array", code="RK304")


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _invalid(location: RecordLocation, error: Exception, line: str = "") -> DataError:
    """Return the error of invalid JSON, with advice on a line that is not one object."""
    reason = "a number has too many digits"
    if isinstance(error, json.JSONDecodeError):
        location = location._replace(column=error.colno)
        reason = error.msg.removesuffix(" at").removesuffix(" starting")
        if line == "{" or "Extra data" in error.msg:
            reason += "; expected one object per line, or one array of all objects"
    elif isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    return DataError(f"{location}: invalid JSON: {reason}", code="RK304")


def _checked(value: Any, location: RecordLocation) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{location}: expected a JSON object, found {_json_type(value)}", code="RK304"
        )
    if isinstance(value, _Repeated):
        raise DataError(f"{location}: the key '{value.key}' is given more than once", code="RK305")
    return value


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a string"
