"""The columns of a table of pairs, named by their role. Shared by `pairs` and `hub`."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from recipekit.table_file import check_columns

__all__ = ["LABEL_NAMES", "Columns", "apply_threshold"]

LABEL_NAMES: Final = (
    "label",
    "goldlabel",
    "grade",
    "relevance",
    "rel",
    "score",
    "judgment",
    "judgement",
    "similarity",
    "similarityscore",
    "relatednessscore",
)
"""Names of columns of labels and scores, in lower case and without separators."""


class Columns(BaseModel):
    """The recipe keys that name the column of each role."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    query: str = "query"
    """Column of the query's text."""
    positive: str = "positive"
    """Column of the passage that answers the query, or of a list of passages. With `label`, the
    column of the labelled passage."""
    negatives: str | tuple[str, ...] | None = None
    """Column of a passage that does not answer the query, or of a list of passages; or several such
    columns."""
    label: str | None = None
    """Column of a relevance grade for the row's passage; by default every passage is relevant.
    Grades are whole numbers. Other numbers, such as similarities from 0 to 1, need
    `min_positive_grade`."""
    min_positive_grade: Annotated[float, Field(gt=0)] | None = None
    """The lowest grade of a positive; by default any grade above 0. Lower grades are negatives."""
    title: str | None = None
    """Column of the passage's title; a list if the passages are a list."""
    query_id: str | None = None
    """Column of the query's id; by default equal texts get one id."""
    passage_id: str | None = None
    """Column of the passage's id; a list if the passages are a list. By default equal texts get one
    id."""
    split_column: str | None = None
    """Column with the split of the row's query: train, dev (also validation, valid, val, eval) or
    test."""

    @property
    def negative_columns(self) -> tuple[str, ...]:
        """The columns of negatives."""
        return (self.negatives,) if isinstance(self.negatives, str) else self.negatives or ()

    @property
    def columns(self) -> dict[str, str]:
        """Every column that is read, with the key that names it."""
        return {column: key for key, column in self._key_columns()}

    def check_roles(self) -> None:
        """Check that the roles do not contradict each other.

        Raises:
            ValueError: `label` is combined with `negatives`, `min_positive_grade` is set without
                `label`, or two keys name the same column.
        """
        if self.label and self.negatives:
            raise ValueError(
                "label and negatives contradict each other: with label, a negative is a row of its "
                "own with label 0"
            )
        if self.min_positive_grade is not None and self.label is None:
            raise ValueError("min_positive_grade requires label, the column to compare with it")
        key_of: dict[str, str] = {}
        for key, column in self._key_columns():
            if column in key_of:
                raise ValueError(
                    f"the column '{column}' is named twice: by {key_of[column]} and by {key}"
                )
            key_of[column] = key

    def check_columns(self, existing: Collection[str], table: object) -> None:
        """Check that a table has every named column.

        Args:
            existing: The columns of the table.
            table: The table's name, for the message.

        Raises:
            DataError: A column is missing.
        """
        check_columns(self.columns, existing, table)

    def unread_label(self, existing: Collection[str]) -> str | None:
        """Return a column whose name is that of labels, if every row is read as a positive."""
        if self.label is not None or self.negatives is not None:
            return None
        names = (name for name in map(str, existing) if name not in self.columns)
        return next((n for n in names if re.sub(r"[\W_]", "", n.lower()) in LABEL_NAMES), None)

    def _key_columns(self) -> list[tuple[str, str]]:
        keys = ("query", "positive", "label", "title", "query_id", "passage_id", "split_column")
        single = [(key, getattr(self, key)) for key in keys if getattr(self, key) is not None]
        return single + [("negatives", column) for column in self.negative_columns]


def apply_threshold(grade: float, min_positive_grade: float | None) -> float:
    """Return the grade, or at most 0 (a negative) if it is below the threshold."""
    if min_positive_grade is None or grade >= min_positive_grade:
        return grade
    return min(grade, 0.0)
