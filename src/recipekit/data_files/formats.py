"""The formats of data files, by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, Literal

from recipekit.data_files.compression import check_regular_file, without_compression
from recipekit.data_files.locations import RecordLocation
from recipekit.errors import DataError
from recipekit.suggestions import did_you_mean

__all__ = ["Format", "check_folder", "file_format", "finite_number", "number_or_nan"]

Format = Literal["jsonl", "csv", "tsv", "parquet", "arrow"]
FORMATS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""Formats by the suffix of the file name, without `.gz`."""
LARGEST_NUMBER: Final = 3.4028235e38
"""The largest float32, as which grades are stored."""


def file_format(path: Path) -> Format:
    """Return the format that the file's name shows.

    Raises:
        DataError: The suffix is unknown, or the path is not a file.
    """
    suffix = without_compression(path).suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    check_regular_file(path)
    if suffix in (".xlsx", ".xls", ".ods"):
        raise DataError(f"{path}: is a workbook: save the sheet as CSV", code="RK304")
    advice = "set `format: jsonl`, csv, tsv, parquet or arrow"
    raise DataError(
        f"{path}: the name does not show the format; {advice}."
        f"{did_you_mean(suffix, list(FORMATS)) if suffix else ''}",
        code="RK304",
    )


def check_folder(folder: Path, *, expected: str = "a folder") -> None:
    """Check that a folder exists.

    Raises:
        DataError: It does not exist, or it is a file.
    """
    if not folder.exists():
        raise DataError(f"{folder}: no such folder", code="RK301")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; expected {expected}", code="RK302")


def number_or_nan(value: Any) -> float:
    """Return the number in a cell, or NaN if it is not a finite number that float32 can hold.

    A truth value is not a number: `true` would be grade 1, which can mean not relevant.
    """
    if isinstance(value, bool):
        return math.nan
    if isinstance(value, str) and "_" in value:  # `float` reads 1_000, which may be an id
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) <= LARGEST_NUMBER else math.nan


def finite_number(value: Any, location: RecordLocation, name: str) -> float:
    """Return the number in a cell, which may be a number or text.

    Raises:
        DataError: The cell is empty, or its value is not a finite number.
    """
    if value is None or value == "":
        raise DataError(f"{location}: '{name}' is missing", code="RK304")
    number = number_or_nan(value)
    if math.isnan(number):
        raise DataError(
            f"{location}: '{name}' is {value!r:.60}, which is not a finite number", code="RK304"
        )
    return number
