"""Turns rows with named columns into queries, passages and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from recipekit.component import Progress
from recipekit.data_files.formats import finite_number
from recipekit.data_files.locations import RecordLocation, Row
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.report.numbers import plural
from recipekit.sources.columns import Columns, apply_threshold
from recipekit.sources.locations import LocatedRecords, Record
from recipekit.suggestions import did_you_mean
from recipekit.table_file import missing_column

__all__ = ["PairReader", "SplitName"]

SplitName = Literal["train", "dev", "test"]

SPLIT_ALIASES: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "eval": "dev",
    "test": "test",
}


@dataclass
class PairReader:
    """Turns rows into records.

    Each text is yielded once. Only its digest stays in memory, 16 bytes per distinct text.
    """

    roles: Columns
    counts: dict[str, int]
    """Updated with `rows`, and with `rows_without_query`, which are left out."""
    split: SplitName | None = None
    """The split of every query, if there is no split column."""
    several_splits: bool = False
    """Whether `split` changes between calls of `read`."""
    _first_skipped: RecordLocation | None = None
    _seen: set[bytes] = field(default_factory=set)
    _split_of: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts.update(rows=0, rows_without_query=0)

    def read(self, rows: Iterable[Row]) -> LocatedRecords:
        """Yield the records of some rows.

        Raises:
            DataError: A column is missing, or a value does not fit the role of its column.
        """
        # A JSON line may lack an optional key. A key that no line has is a mistake.
        unseen = dict(self.roles.columns)
        last: Row | None = None
        for location, row in rows:
            self.counts["rows"] += 1
            last = (location, row)
            for column in unseen.keys() & row.keys():
                del unseen[column]
            for record in self._records(row, location):
                yield location, record
        if unseen and last:
            location, row = last
            column, key = next(iter(unseen.items()))
            raise missing_column(column, key, row.keys(), location.name)

    def finish(self, name: str, progress: Progress) -> None:
        """Check that there were rows, and warn about the rows that were left out.

        Raises:
            DataError: There were no rows.
        """
        if not self.counts["rows"]:
            raise DataError(f"{name}: no rows", code="RK306")
        if skipped := self.counts["rows_without_query"]:
            progress.warn(
                f"{name}: {plural(skipped, 'row')} without a query left out; the first is "
                f"{self._first_skipped}"
            )

    def _records(self, row: Mapping[str, Any], location: RecordLocation) -> Iterator[Record]:
        query = self._query(row, location)
        if query is None:
            self.counts["rows_without_query"] += 1
            self._first_skipped = self._first_skipped or location
            return
        yield from self._once(query, f"q\0{query.id}\0{query.text}")
        grade = self._grade(row, location)
        graded = [(passage, grade) for passage in self._passages(row, location)]
        graded += [(passage, 0.0) for passage in self._negatives(row, location)]
        for passage, grade in graded:
            yield from self._once(passage, f"p\0{passage.id}\0{passage.title}\0{passage.text}")
            yield Label(query.id, passage.id, grade)

    def _once(self, record: Record, content: str) -> Iterator[Record]:
        digest = _digest(content)
        if digest not in self._seen:
            self._seen.add(digest)
            yield record

    def _query(self, row: Mapping[str, Any], location: RecordLocation) -> Query | None:
        roles = self.roles
        text = _text(_required(row, roles.query, "query", location), roles.query, location)
        if not text.strip():
            return None
        split = self._split(row, location) if roles.split_column else self.split
        id = _id(row, roles.query_id, location) or _digest(text).hex()
        # A query of two splits becomes two queries, so that their labels stay apart until collect
        # keeps one of them.
        if self.several_splits or roles.split_column:
            first_split = self._split_of.setdefault(id, split)
            if split != first_split:
                id = f"{id}@{split}"
        return Query(id, text, split)

    def _split(self, row: Mapping[str, Any], location: RecordLocation) -> SplitName | None:
        column = self.roles.split_column
        value = row.get(column or "")
        if value is None or value == "":
            return None
        name = str(value).strip().lower()
        if name not in SPLIT_ALIASES:
            advice = did_you_mean(name, SPLIT_ALIASES) or " Expected train, dev or test."
            raise DataError(
                f"{location}: '{column}' is '{value}', which is not a split.{advice}",
                code="RK304",
            )
        return SPLIT_ALIASES[name]

    def _grade(self, row: Mapping[str, Any], location: RecordLocation) -> float:
        column = self.roles.label
        if column is None:
            return 1.0
        grade = finite_number(_required(row, column, "label", location), location, column)
        lowest = self.roles.min_positive_grade
        if lowest is None and not grade.is_integer():
            raise DataError(
                f"{location}: '{column}' is {grade:g}, and grades are whole numbers. If these are "
                "scores, set `min_positive_grade` to the lowest score of a positive, or measure "
                "similarities with the evaluator `sts`, which reads a file of its own",
                code="RK304",
            )
        return apply_threshold(grade, lowest)

    def _passages(self, row: Mapping[str, Any], location: RecordLocation) -> Iterator[Passage]:
        roles = self.roles
        values = _as_list(_required(row, roles.positive, "positive", location))
        texts = [_text(value, roles.positive, location) for value in values]
        titles = self._per_passage(row, roles.title, len(texts), location)
        ids = self._per_passage(row, roles.passage_id, len(texts), location)
        for text, title, id in zip(texts, titles, ids, strict=True):
            if text.strip():
                title = "" if _is_missing(title) else str(title)
                yield _passage(text, title, _id_text(id, roles.passage_id, location))

    def _negatives(self, row: Mapping[str, Any], location: RecordLocation) -> Iterator[Passage]:
        for column in self.roles.negative_columns:
            for value in _as_list(row.get(column)):
                text = _text(value, column, location)
                if text.strip():
                    yield _passage(text)

    def _per_passage(
        self, row: Mapping[str, Any], column: str | None, n: int, location: RecordLocation
    ) -> list[Any]:
        """Return one value for each of the n passages of a row."""
        value = row.get(column) if column else None
        if value is None:
            return [None] * n
        values = _as_list(value)
        if len(values) != n:
            raise DataError(
                f"{location}: '{column}' has {len(values)} values for {n} in "
                f"'{self.roles.positive}'",
                code="RK304",
            )
        return values


def _required(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> Any:
    if column not in row:
        raise missing_column(column, key, row.keys(), location)
    return row[column]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _passage(text: str, title: str = "", id: str = "") -> Passage:
    return Passage(id or _digest(f"{title}\0{text}").hex(), text, title)


def _text(value: Any, column: str, location: RecordLocation) -> str:
    """Return a cell's text; an empty cell is the empty text."""
    if isinstance(value, str):
        return value
    if _is_missing(value):
        return ""
    raise DataError(f"{location}: '{column}' is {value!r:.60}, which is not text", code="RK304")


def _id(row: Mapping[str, Any], column: str | None, location: RecordLocation) -> str:
    return _id_text(row.get(column), column, location) if column else ""


def _id_text(value: Any, column: str | None, location: RecordLocation) -> str:
    """Return an id as text; an empty cell is the empty text."""
    if _is_missing(value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{location}: '{column}' is {value!r:.60}, which is not an id: expected text or a "
            "whole number",
            code="RK304",
        )
    return str(value)


def _is_missing(value: Any) -> bool:
    """Return whether a cell is null, or NaN, which data frames write for missing values."""
    return value is None or (isinstance(value, float) and value != value)


def _digest(text: str) -> bytes:
    # Collect cleans texts later: here they may still contain unpaired surrogates.
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
