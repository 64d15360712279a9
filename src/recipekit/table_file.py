"""`TableFile`: the keys with which a component names a file of rows, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recipekit.component import LocalPath
from recipekit.data_files.compression import check_regular_file, without_compression
from recipekit.data_files.delimited import Quoting, delimited_rows, delimiter_advice
from recipekit.data_files.formats import Format, file_format
from recipekit.data_files.json_lines import json_rows
from recipekit.data_files.locations import Row
from recipekit.data_files.tables import table_columns, table_rows
from recipekit.errors import DataError
from recipekit.suggestions import did_you_mean

__all__ = ["DEFAULT_QUOTING", "TableFile", "check_columns", "missing_column"]

FIRST_OBJECTS = 1000
"""Objects of a JSON file in which columns are looked for before it is read."""
DEFAULT_QUOTING: Mapping[str, Quoting] = {"csv": "minimal", "tsv": "none"}


class TableFile(BaseModel):
    """The recipe keys that name a file with named columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    file: LocalPath
    """The file: .jsonl, .json (lines or one array), .csv, .tsv, .parquet or .arrow, also followed
    by .gz, .bz2, .xz or .zst."""
    format: Format | None = None
    """The format, if the file's name does not end in it."""
    delimiter: Annotated[str, Field(pattern=r'^[^"\n\r]$')] | None = None
    """The character between fields, as in `";"`; by default a comma in CSV and a tab in TSV.
    Excel's first line `sep=;` also sets it."""
    quoting: Quoting | None = None
    """`minimal`: double quotes may enclose a field, the default for CSV. `none`: quotes are plain
    text and every line is a row, the default for TSV."""
    encoding: str | None = None
    """The encoding of a text file, such as `windows-1252`; by default UTF-8, or UTF-16 and UTF-32
    with a byte order mark."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "".encode(encoding)
            except (LookupError, UnicodeError) as error:
                raise ValueError(f"'{encoding}' is not a text encoding of Python") from error
        return encoding

    def named_file(self, name: str) -> Mapping[str, Path]:
        """Return the file for `Component.files()`.

        Its name contains the format, because the same bytes can be read as CSV or as TSV.
        """
        return {f"{name}.{self.format or ''.join(self.file.suffixes[-2:])}": self.file}

    def named_columns(self) -> Mapping[str, str]:
        """Return the columns that every row must have, with the key that names each."""
        return {}

    def optional_columns(self) -> Mapping[str, str]:
        """Return further columns, which objects of a JSON file may lack."""
        return {}

    def key_mistakes(self) -> Iterator[tuple[str, DataError]]:
        """Yield the keys that name a column which the file does not have, if it is here."""
        found = self.known_columns()
        if found is None:
            return
        existing, are_all = found
        named = {**(self.optional_columns() if are_all else {}), **self.named_columns()}
        for column, key in named.items():
            if column not in existing:
                yield key, missing_column(column, key, existing, self.file)

    def known_columns(self) -> tuple[Collection[str], bool] | None:
        """Return columns of the file, and whether they are all; None if it cannot be read."""
        format = self.format or _stated_format(self.file)
        if format is None or not self.file.is_file():
            return None
        try:
            if format == "parquet" or format == "arrow":
                if without_compression(self.file) != self.file:
                    return None  # decompressing it would take long
                return table_columns(self.file, format, self.file.parent), True
            if format == "jsonl":
                return self._columns_of_objects()
            _, header = next(self._delimited(format, {}, None), (None, None))
            return None if header is None else (list(header), True)
        except DataError:
            return None

    def _columns_of_objects(self) -> tuple[Collection[str], bool] | None:
        rows = [row for _, row in islice(json_rows(self.file, self.encoding), FIRST_OBJECTS)]
        columns = list(dict.fromkeys(str(column) for row in rows for column in row))
        return (columns, len(rows) < FIRST_OBJECTS) if rows else None

    def rows(
        self,
        columns: Mapping[str, str],
        scratch: Path,
        warn: Callable[[str], None] | None = None,
    ) -> Iterator[Row]:
        """Yield the rows of the file with their locations.

        Args:
            columns: The columns that are read, with the recipe key that names each. JSON objects
                may lack keys; every other format must have all columns.
            scratch: Where a compressed table is decompressed.
            warn: Reports doubtful quoting of a text file.

        Raises:
            DataError: The file cannot be read, or lacks a column.
        """
        check_regular_file(self.file)
        format = self.format or file_format(self.file)
        if format == "jsonl":
            yield from json_rows(self.file, self.encoding)
        elif format == "parquet" or format == "arrow":
            check_columns(columns, table_columns(self.file, format, scratch), self.file)
            yield from table_rows(self.file, format, scratch, columns=list(columns))
        else:
            yield from self._delimited(format, columns, warn)

    def _delimited(
        self,
        format: Literal["csv", "tsv"],
        columns: Mapping[str, str],
        warn: Callable[[str], None] | None,
    ) -> Iterator[Row]:
        rows = delimited_rows(
            self.file,
            self.delimiter or {"csv": ",", "tsv": "\t"}[format],
            quoting=self.quoting or DEFAULT_QUOTING[format],
            encoding=self.encoding,
            # What the recipe chooses is not in doubt.
            warn=warn if self.quoting is None else None,
        )
        for number, (location, row) in enumerate(rows):
            if number == 0:
                self._check_header(columns, list(row))
            yield location, row

    def _check_header(self, columns: Mapping[str, str], existing: list[str]) -> None:
        advice = delimiter_advice(existing)
        if advice:
            raise DataError(
                f"{self.file}: the header is one column, '{existing[0]}'; {advice}", code="RK305"
            )
        check_columns(columns, existing, self.file)


def _stated_format(file: Path) -> Format | None:
    """Return the format that a file's name states; None without one."""
    try:
        return file_format(file)
    except DataError:
        return None


def check_columns(columns: Mapping[str, str], existing: Collection[str], table: object) -> None:
    """Check that a table has every named column.

    Args:
        columns: The columns that are read, with the key that names each.
        existing: The columns of the table.
        table: The table's name, for the message.

    Raises:
        DataError: A column is missing.
    """
    for column, key in columns.items():
        if column not in existing:
            raise missing_column(column, key, existing, table)


def missing_column(column: str, key: str, existing: Collection[str], where: object) -> DataError:
    """Return the error for a column that a key names and a table does not have."""
    names = [str(name) for name in existing]
    return DataError(
        f"{where}: no column '{column}' for `{key}`; found {', '.join(names) or 'none'}."
        f"{did_you_mean(column, names)}",
        code="RK305",
    )
