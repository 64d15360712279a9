"""Pairs of a query and its answer in a file with named columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import model_validator

from recipekit.component import Context, SourceSpec
from recipekit.sources.columns import Columns
from recipekit.sources.locations import LocatedRecords, LocatedSource
from recipekit.sources.pair_reader import PairReader, SplitName
from recipekit.table_file import TableFile

__all__ = ["PairsSpec"]

REQUIRED = ("query", "positive", "label")
"""Keys that name a column without which a row cannot be read."""


class PairsSpec(Columns, TableFile, SourceSpec):
    """Pairs in a JSON, CSV, TSV, Parquet or Arrow file, which may be compressed.

    A row holds a query and a positive, optionally with negatives, or a query, a passage and a
    grade. Empty cells, null and NaN are missing values: a row without a query is left out and
    counted. The texts "nan" and "null" are texts. Equal texts are one query or one passage.
    """

    split: SplitName | None = None
    """The split of every query in the file; by default they are divided by `collect.split`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.check_roles()
        if self.split and self.split_column:
            raise ValueError("split and split_column contradict each other: set one of them")
        return self

    def files(self) -> Mapping[str, Path]:
        """Return the file."""
        return self.named_file("pairs")

    def named_columns(self) -> Mapping[str, str]:
        """Return the columns of queries, positives and labels."""
        return {column: key for column, key in self.columns.items() if key in REQUIRED}

    def optional_columns(self) -> Mapping[str, str]:
        """Return the other columns."""
        return {column: key for column, key in self.columns.items() if key not in REQUIRED}

    def key_notes(self) -> Iterator[tuple[str, str]]:
        """Warn about a column of labels or scores that is not read, as far as the file shows it."""
        found = self.known_columns()
        column = None if found is None else self.unread_label(found[0])
        if column is not None:
            yield (
                "file",
                f"{self.file}: the column '{column}' is not read, so every row counts as a "
                f"positive. `label: {column}` reads relevance grades; the evaluators `sts`, "
                "`pairs` and `triplets` measure scores and other labels",
            )

    def build(self, context: Context) -> LocatedSource:
        """Return the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context, counts), counts)

    def _located(self, context: Context, counts: dict[str, int]) -> LocatedRecords:
        reader = PairReader(self, counts, self.split)
        rows = self.rows(self.columns, context.scratch, context.progress.warn)
        yield from reader.read(rows)
        reader.finish(str(self.file), context.progress)
