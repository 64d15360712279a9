"""Pairs of a query and its answer in a file with named columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from recipekit.component import Context, LocalPath, SourceSpec
from recipekit.errors import DataError
from recipekit.sources.columns import Columns
from recipekit.sources.files import (
    Format,
    Quoting,
    delimited_rows,
    file_format,
    json_rows,
    parquet_columns,
    parquet_rows,
)
from recipekit.sources.locations import LocatedRecords, LocatedSource, Row
from recipekit.sources.pair_reader import PairReader, SplitName

__all__ = ["PairsSpec"]


class PairsSpec(Columns, SourceSpec):
    """Pairs in a JSON lines, CSV, TSV or Parquet file, which may be gzipped.

    A row holds a query and a positive, optionally with negatives, or a query, a passage and a
    grade. Empty cells, null and NaN are missing values: a row without a query is left out and
    counted. The texts "nan" and "null" are texts. Equal texts are one query or one passage.
    """

    file: LocalPath
    """The file: .jsonl, .csv, .tsv or .parquet, also followed by .gz."""
    format: Format | None = None
    """The format, if the file's name does not end in it."""
    delimiter: Annotated[str, Field(pattern=r'^[^"\n\r]$')] | None = None
    """The character between fields, as in `";"`; by default a comma in CSV and a tab in TSV."""
    quoting: Quoting = "minimal"
    """`minimal`: double quotes may enclose a field (CSV and TSV). `none`: quotes are plain text, as
    in many TSV files."""
    split: SplitName | None = None
    """The split of every query in the file; by default they are divided by `collect.split`."""

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
        yield from reader.read(self._rows(context.scratch))
        reader.finish(str(self.file), context.progress)

    def _rows(self, scratch: Path) -> Iterator[Row]:
        format = self.format or file_format(self.file)
        if format == "jsonl":
            yield from json_rows(self.file)
        elif format == "parquet":
            self.check_columns(parquet_columns(self.file, scratch), self.file)
            yield from parquet_rows(self.file, scratch, columns=list(self.columns))
        else:
            delimiter = self.delimiter or {"csv": ",", "tsv": "\t"}[format]
            rows = delimited_rows(self.file, delimiter, quoting=self.quoting)
            for number, (location, row) in enumerate(rows):
                if number == 0:
                    self._check_header(list(row))
                yield location, row

    def _check_header(self, columns: list[str]) -> None:
        if len(columns) == 1 and ";" in columns[0]:
            raise DataError(
                f"{self.file}: the header is one column, '{columns[0]}'; to split it at ';', set "
                """`delimiter: ";"`""",
                code="RK305",
            )
        self.check_columns(columns, self.file)
