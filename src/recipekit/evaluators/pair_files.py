"""Files of text pairs, with scores or with labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipekit.data_files.formats import finite_number
from recipekit.data_files.locations import RecordLocation
from recipekit.errors import DataError
from recipekit.evaluators.cells import Cell, as_texts, name_of, text_of, value_of
from recipekit.evaluators.data_kinds import LabelledPairs, ScoredPairs
from recipekit.evaluators.evaluation_file import EvaluationFile, Warn

__all__ = ["LabelledPairsFile", "ScoredPairsFile"]


class ScoredPairsFile(EvaluationFile):
    """A file of text pairs with similarity scores."""

    first: str = "sentence1"
    """Column of the first text."""
    second: str = "sentence2"
    """Column of the second text."""
    score: str = "score"
    """Column of the similarity score, on any scale; higher is more similar."""

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns of texts and scores."""
        return {self.first: "first", self.second: "second", self.score: "score"}

    def read(self, scratch: Path, warn: Warn | None = None) -> ScoredPairs:
        """Read the pairs.

        Raises:
            DataError: A row lacks a text or a finite score, there are fewer than two pairs, or all
                scores are equal.
        """
        rows = self.matching(scratch, warn)
        scores = [
            finite_number(value_of(row, self.score, "score", location), location, self.score)
            for location, row in rows
        ]
        if len(set(scores)) < 2:
            raise DataError(
                f"{self.file}: all values of '{self.score}' are {scores[0]:g}: a correlation needs "
                "different scores",
                code="RK304",
            )
        first = [text_of(row, self.first, "first", location) for location, row in rows]
        second = [text_of(row, self.second, "second", location) for location, row in rows]
        return ScoredPairs(first, second, scores)


class LabelledPairsFile(EvaluationFile):
    """A file of text pairs with a label each."""

    first: str = "sentence1"
    """Column of the first text."""
    second: str = "sentence2"
    """Column of the second text."""
    label: str = "label"
    """Column of the label."""
    positive_labels: tuple[Cell, ...] = (1,)
    """Labels of pairs with the same meaning, such as 1 or `entailment`."""
    negative_labels: tuple[Cell, ...] | None = (0,)
    """Labels of other pairs. A further label is an error; null counts every further label."""

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns of texts and labels."""
        return {self.first: "first", self.second: "second", self.label: "label"}

    def read(self, scratch: Path, warn: Warn | None = None) -> LabelledPairs:
        """Read the pairs.

        Raises:
            DataError: A row lacks a text, or has a label that is not listed, or only one of the
                two labels occurs.
        """
        rows = self.matching(scratch, warn)
        labels = [self._label(row, location) for location, row in rows]
        if len(set(labels)) < 2:
            missing = "negative" if labels[0] else "positive"
            raise DataError(f"{self.file}: no pair has a {missing} label", code="RK304")
        first = [text_of(row, self.first, "first", location) for location, row in rows]
        second = [text_of(row, self.second, "second", location) for location, row in rows]
        return LabelledPairs(first, second, labels)

    def _label(self, row: Mapping[str, Any], location: RecordLocation) -> bool:
        label = name_of(row, self.label, "label", location)
        if label in as_texts(self.positive_labels):
            return True
        if self.negative_labels is None or label in as_texts(self.negative_labels):
            return False
        listed = [*as_texts(self.positive_labels), *as_texts(self.negative_labels)]
        raise DataError(
            f"{location}: '{self.label}' is '{label:.60}', which is neither in positive_labels nor "
            f"in negative_labels ({', '.join(listed)})",
            code="RK304",
        )
