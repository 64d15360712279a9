"""Cells of files with evaluation data, as texts and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipekit.data_files.clean_text import clean_text
from recipekit.data_files.locations import RecordLocation
from recipekit.errors import DataError
from recipekit.table_file import missing_column

__all__ = [
    "Cell",
    "as_text",
    "as_texts",
    "name_of",
    "optional_text",
    "text_of",
    "texts_in",
    "value_of",
]

Cell = str | int | bool
"""A value that a recipe compares cells with."""


def value_of(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> Any:
    """Return a cell.

    Args:
        row: The row.
        column: The column of the cell.
        key: The key of the recipe that names the column.
        location: Where the row is.

    Raises:
        DataError: The row has no such column.
    """
    if column not in row:
        raise missing_column(column, key, row.keys(), location)
    return row[column]


def optional_text(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> str:
    """Return the text of a cell, empty where there is none."""
    return _as_cell_text(value_of(row, column, key, location), column, location)


def text_of(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> str:
    """Return the text of a cell.

    Raises:
        DataError: It has none.
    """
    text = optional_text(row, column, key, location)
    if not text:
        raise DataError(f"{location}: '{column}' has no text", code="RK304")
    return text


def texts_in(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> list[str]:
    """Return the texts of a cell that holds one or a list of them; empty ones are left out."""
    value = value_of(row, column, key, location)
    values = value if isinstance(value, list | tuple) else [value]
    texts = [_as_cell_text(one, column, location) for one in values]
    return [text for text in texts if text]


def _as_cell_text(value: Any, column: str, location: RecordLocation) -> str:
    is_missing = value is None or (isinstance(value, float) and value != value)
    if is_missing:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{location}: '{column}' is {value!r:.60}, which is not text", code="RK304")
    return clean_text(value) if value.strip() else ""


def name_of(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> str:
    """Return a cell that holds a name or a number, as text."""
    value = value_of(row, column, key, location)
    if value is None or value == "" or isinstance(value, list | dict):
        raise DataError(
            f"{location}: '{column}' is {value!r:.60}; a name is expected", code="RK304"
        )
    return as_text(value)


def as_text(value: Any) -> str:
    """Return one text for equal values of a recipe and of any file format."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def as_texts(values: Any) -> list[str]:
    """Return one value or several as texts."""
    listed = values if isinstance(values, list | tuple) else [values]
    return [as_text(value) for value in listed]
