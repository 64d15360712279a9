"""Files of queries with passages to rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recipekit.data_files.formats import finite_number
from recipekit.data_files.locations import RecordLocation
from recipekit.errors import DataError
from recipekit.evaluators.cells import text_of, texts_in, value_of
from recipekit.evaluators.data_kinds import RankedLists
from recipekit.evaluators.evaluation_file import EvaluationFile, Warn
from recipekit.report.numbers import plural

__all__ = ["RankedListsFile"]


class RankedListsFile(EvaluationFile):
    """A file of queries with passages to rank.

    A row holds a query with a list of positives and a list of negatives, or, with `label`, a query,
    one passage and its grade.
    """

    query: str = "query"
    """Column of the query. Rows of equal queries are one list."""
    positive: str = "positive"
    """Column of a relevant passage, or of a list of them. With `label`, of the graded passage."""
    negative: str | None = "negative"
    """Column of a passage that is not relevant, or of a list of them; not read with `label`."""
    label: str | None = None
    """Column of the passage's grade; above 0 is relevant."""

    def text_columns(self) -> Mapping[str, str]:
        """Return the columns of queries, passages and grades."""
        columns = {self.query: "query", self.positive: "positive"}
        other = self.label or self.negative
        if other is not None:
            columns[other] = "label" if self.label else "negative"
        return columns

    def read(self, scratch: Path, warn: Warn | None = None) -> RankedLists:
        """Read the lists; queries whose passages are all relevant, or none, are left out.

        Raises:
            DataError: A row lacks a text or a finite grade, or no query is left.
        """
        lists: dict[str, dict[str, float]] = {}
        for location, row in self.matching(scratch, warn):
            found = lists.setdefault(text_of(row, self.query, "query", location), {})
            for passage, grade in self._passages(row, location):
                found[passage] = max(grade, found.get(passage, grade))
        usable = {
            query: found
            for query, found in lists.items()
            if any(grade > 0 for grade in found.values())
            and any(grade <= 0 for grade in found.values())
        }
        if not usable:
            raise DataError(
                f"{self.file}: no query has both a relevant passage and another one", code="RK304"
            )
        if warn is not None and len(usable) < len(lists):
            left_out = plural(len(lists) - len(usable), "query", "queries")
            warn(f"{self.file}: {left_out} with only relevant passages, or none, left out")
        passages = [list(found) for found in usable.values()]
        grades = [list(found.values()) for found in usable.values()]
        return RankedLists(list(usable), passages, grades)

    def _passages(
        self, row: Mapping[str, Any], location: RecordLocation
    ) -> Iterator[tuple[str, float]]:
        if self.label is not None:
            value = value_of(row, self.label, "label", location)
            grade = finite_number(value, location, self.label)
            yield text_of(row, self.positive, "positive", location), grade
            return
        for text in texts_in(row, self.positive, "positive", location):
            yield text, 1.0
        if self.negative is not None:
            for text in texts_in(row, self.negative, "negative", location):
                yield text, 0.0
