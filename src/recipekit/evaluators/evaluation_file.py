"""A file of evaluation data, and which of its rows count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from recipekit.component import NotIdentity
from recipekit.data_files.locations import Row
from recipekit.errors import DataError
from recipekit.evaluators.cells import Cell, as_text, as_texts
from recipekit.table_file import TableFile, check_columns

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["EvaluationFile", "Warn"]

Warn = Callable[[str], None]


class EvaluationFile(TableFile):
    """A file of evaluation data, and which of its rows count."""

    license: Annotated[str | None, NotIdentity] = None
    """The licence of the data, as an SPDX id or the Hub's name, such as `cc-by-sa-4.0`.
    `recipekit share` includes the file only if its licence allows it."""
    where: dict[str, Cell | tuple[Cell, ...]] = Field(default={})
    """Read only rows with these values, by column: `{split: test}`, `{year: [2015, 2016]}`. Rows
    without a value are left out."""

    def files(self) -> Mapping[str, Path]:
        """Return the file."""
        return self.named_file("data")

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns that rows which count must have, with the key that names each."""
        raise NotImplementedError

    def named_columns(self) -> Mapping[str, str]:
        """Return the columns that every row must have: none if only some rows count."""
        return {} if self.where else self.text_columns()

    def optional_columns(self) -> Mapping[str, str]:
        """Return the columns that not every object of a JSON file must have."""
        return {**self.text_columns(), **dict.fromkeys(self.where, "where")} if self.where else {}

    def read(self, scratch: Path, warn: Warn | None = None) -> object:
        """Read the data.

        Args:
            scratch: Where a compressed table is decompressed.
            warn: Reports rows that are left out.

        Raises:
            DataError: The file cannot be read, or a row is wrong.
        """
        raise NotImplementedError

    def check(self, dataset: Dataset) -> None:
        """Read the file, so that a mistake in it ends the run before encoders are trained."""
        with TemporaryDirectory() as scratch:
            self.read(Path(scratch))

    def matching(self, scratch: Path, warn: Warn | None) -> list[Row]:
        """Return the rows that count.

        Raises:
            DataError: The file cannot be read, lacks a column, or has no such row.
        """
        wanted = {column: as_texts(values) for column, values in self.where.items()}
        named = {**self.text_columns(), **dict.fromkeys(wanted, "where")}
        rows: list[Row] = []
        existing: dict[str, None] = {}
        for location, row in self.rows(named, scratch, warn):
            existing.update(dict.fromkeys(row))
            if _matches(row, wanted):
                rows.append((location, row))
        if existing:
            check_columns(dict.fromkeys(wanted, "where"), existing, self.file)
        if not rows:
            listed = ", ".join(f"{name}: {' or '.join(texts)}" for name, texts in wanted.items())
            reason = f"no row with {listed}" if listed else "no rows"
            raise DataError(f"{self.file}: {reason}", code="RK306")
        return rows


def _matches(row: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a row has one of the values in every column; a missing value is none."""
    for column, values in wanted.items():
        cell = row.get(column)
        if cell is None or as_text(cell) not in values:
            return False
    return True
