"""Pairs of a query and its answer in a file with named columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipekit.component import Context, LocalPath, Progress, SourceSpec
from recipekit.data_files.compression import check_regular_file
from recipekit.data_files.delimited import Quoting, delimited_rows, delimiter_advice
from recipekit.data_files.formats import Format, file_format
from recipekit.data_files.json_lines import json_rows
from recipekit.data_files.locations import Row
from recipekit.data_files.tables import table_columns, table_rows
from recipekit.errors import DataError
from recipekit.sources.columns import Columns
from recipekit.sources.locations import LocatedRecords, LocatedSource
from recipekit.sources.pair_reader import PairReader, SplitName

__all__ = ["DEFAULT_QUOTING", "PairsSpec"]

DEFAULT_QUOTING: Mapping[str, Quoting] = {"csv": "minimal", "tsv": "none"}


class PairsSpec(Columns, SourceSpec):
    """Pairs in a JSON, CSV, TSV, Parquet or Arrow file, which may be compressed.

    A row holds a query and a positive, optionally with negatives, or a query, a passage and a
    grade. Empty cells, null and NaN are missing values: a row without a query is left out and
    counted. The texts "nan" and "null" are texts. Equal texts are one query or one passage.
    """

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
    split: SplitName | None = None
    """The split of every query in the file; by default they are divided by `collect.split`."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "".encode(encoding)
            except (LookupError, UnicodeError) as error:
                raise ValueError(f"'{encoding}' is not a text encoding of Python") from error
        return encoding

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.check_roles()
        if self.split and self.split_column:
            raise ValueError("split and split_column contradict each other: set one of them")
        return self

    def files(self) -> Mapping[str, Path]:
        """Return the file.

        Its key contains the format, because the same bytes can be read as CSV or as TSV.
        """
        return {f"pairs.{self.format or ''.join(self.file.suffixes[-2:])}": self.file}

    def build(self, context: Context) -> LocatedSource:
        """Return the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context, counts), counts)

    def _located(self, context: Context, counts: dict[str, int]) -> LocatedRecords:
        reader = PairReader(self, counts, self.split)
        yield from reader.read(self._rows(context))
        reader.finish(str(self.file), context.progress)

    def _rows(self, context: Context) -> Iterator[Row]:
        check_regular_file(self.file)
        format = self.format or file_format(self.file)
        if format == "jsonl":
            yield from json_rows(self.file, self.encoding)
        elif format == "parquet" or format == "arrow":
            scratch = context.scratch
            self.check_columns(table_columns(self.file, format, scratch), self.file)
            yield from table_rows(self.file, format, scratch, columns=list(self.columns))
        else:
            yield from self._delimited(format, context.progress)

    def _delimited(self, format: Literal["csv", "tsv"], progress: Progress) -> Iterator[Row]:
        rows = delimited_rows(
            self.file,
            self.delimiter or {"csv": ",", "tsv": "\t"}[format],
            quoting=self.quoting or DEFAULT_QUOTING[format],
            encoding=self.encoding,
            # What the recipe chooses is not in doubt.
            warn=progress.warn if self.quoting is None else None,
        )
        for number, (location, row) in enumerate(rows):
            if number == 0:
                self._check_header(list(row))
            yield location, row

    def _check_header(self, columns: list[str]) -> None:
        advice = delimiter_advice(columns)
        if advice:
            raise DataError(
                f"{self.file}: the header is one column, '{columns[0]}'; {advice}", code="RK305"
            )
        self.check_columns(columns, self.file)
