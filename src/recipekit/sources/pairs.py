"""Pairs in one file: a query and what answers it per row, in columns with names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from recipekit.component import Context, LocalPath, SourceSpec
from recipekit.sources.columns import Columns, PairReader, SplitName
from recipekit.sources.files import (
    Format,
    Quoting,
    delimited_rows,
    file_format,
    json_rows,
    parquet_columns,
    parquet_rows,
)
from recipekit.sources.locations import LocatedSource, Record, RecordLocation, Row

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
    """`minimal`: double quotes may enclose a field (CSV and TSV). `none`: quotes are plain text, as in
    many TSV files."""
    split: SplitName | None = None
    """The split of every query in the file; by default they are divided by `collect.split`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.check_roles()
        if self.split and self.split_column:
            raise ValueError("split and split_column contradict each other: name one of them")
        return self

    def files(self) -> Mapping[str, Path]:
        """The file.

        Its format is in the name, since the same bytes could be read as CSV or as TSV.
        """
        return {f"pairs.{self.format or ''.join(self.file.suffixes[-2:])}": self.file}

    def build(self, context: Context) -> LocatedSource:
        """Make the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context, counts), counts)

    def _located(
        self, context: Context, counts: dict[str, int]
    ) -> Iterator[tuple[RecordLocation, Record]]:
        reader = PairReader(self, counts, self.split)
        yield from reader.read(self._rows(context.scratch))
        reader.end(str(self.file), context.progress)

    def _rows(self, scratch: Path) -> Iterator[Row]:
        match self.format or file_format(self.file):
            case "jsonl":
                yield from json_rows(self.file)
            case "parquet":
                self.check_there(parquet_columns(self.file, scratch), self.file)
                yield from parquet_rows(self.file, scratch, columns=list(self.columns))
            case form:
                delimiter = self.delimiter or ("\t" if form == "tsv" else ",")
                rows = delimited_rows(self.file, delimiter, quoting=self.quoting)
                for number, (place, row) in enumerate(rows):
                    if number == 0:
                        self.check_there(row.keys(), self.file)
                    yield place, row
