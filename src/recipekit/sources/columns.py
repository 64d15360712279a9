"""From rows with named columns to queries, passages and labels: what `pairs` and `hub` share.

The columns are named by the role that they play, never by their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recipekit.component import Progress
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.files import finite
from recipekit.sources.locations import Record, RecordLocation, Row
from recipekit.suggestions import did_you_mean

__all__ = ["Columns", "PairReader", "SplitName", "relevant"]

SplitName = Literal["train", "dev", "test"]

SPLIT_WORDS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "eval": "dev",
    "test": "test",
}


class Columns(BaseModel):
    """The keys that say which column of a row plays which role."""

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
    """Column of a relevance grade for the row's passage; by default every passage is relevant."""
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
        """Columns of negatives."""
        return (self.negatives,) if isinstance(self.negatives, str) else self.negatives or ()

    @property
    def columns(self) -> dict[str, str]:
        """Every column that is read, and the key that names it."""
        return {column: key for key, column in self._named()}

    def check_roles(self) -> None:
        """Refuse roles that contradict each other.

        Raises:
            ValueError: A label next to negatives, a threshold without labels, or one column in two
                roles.
        """
        if self.label and self.negatives:
            raise ValueError(
                "label and negatives contradict each other: with label, a negative is a row of its own whose label is 0"
            )
        if self.min_positive_grade is not None and self.label is None:
            raise ValueError("min_positive_grade needs label, the column that it is compared with")
        seen: dict[str, str] = {}
        for key, column in self._named():
            if column in seen:
                raise ValueError(
                    f"the column '{column}' is named twice: by {seen[column]} and by {key}"
                )
            seen[column] = key

    def check_there(self, columns: Collection[str], where: object) -> None:
        """Make sure that the columns which are named are there.

        Raises:
            DataError: One is not; the message lists those that are.
        """
        for column, key in self.columns.items():
            if column not in columns:
                raise _missing(
                    column,
                    key,
                    columns,
                    where,
                    has_delimiter="delimiter" in type(self).model_fields,
                )

    def _named(self) -> list[tuple[str, str]]:
        """(key, column) of every role that has one."""
        keys = ("query", "positive", "label", "title", "query_id", "passage_id", "split_column")
        single = [(key, getattr(self, key)) for key in keys if getattr(self, key) is not None]
        return single + [("negatives", column) for column in self.negative_columns]


def _missing(
    column: str, key: str, columns: Collection[str], where: object, *, has_delimiter: bool = False
) -> DataError:
    there = ", ".join(map(str, columns)) or "none"
    if has_delimiter and len(columns) == 1 and ";" in there:
        advice = """its columns are separated by ';': set `delimiter: ";"`"""
        return DataError(f"{where}: no column '{column}' for `{key}`; {advice}", code="RK305")
    return DataError(
        f"{where}: no column '{column}' for `{key}`; there are: {there}.{did_you_mean(column, map(str, columns))}",
        code="RK305",
    )


def relevant(grade: float, min_positive_grade: float | None) -> float:
    """The grade as a label keeps it: below the threshold it is a negative's, at most 0."""
    return grade if min_positive_grade is None or grade >= min_positive_grade else min(grade, 0.0)


@dataclass
class PairReader:
    """Turns rows into records.

    A text is given out once, so that its memory grows by 16 bytes per distinct text.
    """

    roles: Columns
    counts: dict[str, int]
    """`rows`, and `rows_without_query`, which are left out."""
    split: SplitName | None = None
    """The split of every query, where no column says it."""
    several_splits: bool = False
    """Whether `split` changes between reads."""
    _first_skipped: RecordLocation | None = None
    _given: set[bytes] = field(default_factory=set)
    _split_of: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts.update(rows=0, rows_without_query=0)

    def read(self, rows: Iterable[Row]) -> Iterator[tuple[RecordLocation, Record]]:
        """The records of some rows.

        Raises:
            DataError: A column is missing, or a value is not what its role needs.
        """
        # Not every JSON line has every optional key; one that no line has is a mistake.
        unseen = dict(self.roles.columns)
        last: tuple[RecordLocation, Mapping[str, Any]] | None = None
        for place, row in rows:
            self.counts["rows"] += 1
            last = (place, row)
            for column in [column for column in unseen if column in row]:
                del unseen[column]
            for record in self._records(row, place):
                yield place, record
        if unseen and last:
            column, key = next(iter(unseen.items()))
            raise _missing(column, key, last[1].keys(), last[0].name)

    def end(self, name: str, progress: Progress) -> None:
        """See that there was something to read, and tell what was left out.

        Raises:
            DataError: There was no row.
        """
        if not self.counts["rows"]:
            raise DataError(f"{name}: no rows", code="RK306")
        if skipped := self.counts["rows_without_query"]:
            progress.warn(
                f"{name}: {skipped} rows without a query are left out; the first: {self._first_skipped}"
            )

    def _records(self, row: Mapping[str, Any], place: RecordLocation) -> Iterator[Record]:
        roles = self.roles
        text = next(iter(self._texts(row, roles.query, place, "query", one=True)), "")
        if not text.strip():
            self.counts["rows_without_query"] += 1
            self._first_skipped = self._first_skipped or place
            return
        query = Query(*self._query(row, text, place))
        yield from self._once(query, f"q\0{query.id}\0{query.text}")
        grade = 1.0
        if roles.label:
            grade = relevant(
                finite(self._value(row, roles.label, "label", place), place, roles.label),
                roles.min_positive_grade,
            )
        passages = [(passage, grade) for passage in self._passages(row, place)]
        for column in roles.negative_columns:
            passages += [
                (self._passage(text), 0.0)
                for text in self._texts(row, column, place)
                if text.strip()
            ]
        for passage, grade in passages:
            yield from self._once(passage, f"p\0{passage.id}\0{passage.title}\0{passage.text}")
            yield Label(query.id, passage.id, grade)

    def _query(
        self, row: Mapping[str, Any], text: str, place: RecordLocation
    ) -> tuple[str, str, SplitName | None]:
        """Id, text and split of a query."""
        split = self._split(row, place) if self.roles.split_column else self.split
        given = (
            self._id(row.get(self.roles.query_id), place, self.roles.query_id)
            if self.roles.query_id
            else ""
        )
        id = given or _digest(text).hex()
        # A query of two splits is two queries until collect decides: the labels of one must not
        # reach the other.
        if (self.several_splits or self.roles.split_column) and self._split_of.setdefault(
            id, split
        ) != split:
            id = f"{id}@{split}"
        return id, text, split

    def _split(self, row: Mapping[str, Any], place: RecordLocation) -> SplitName | None:
        value = row.get(self.roles.split_column or "")
        if value is None or value == "":
            return None
        word = str(value).strip().lower()
        if word not in SPLIT_WORDS:
            known = did_you_mean(word, SPLIT_WORDS) or " It is one of train, dev and test."
            raise DataError(
                f"{place}: '{self.roles.split_column}' is '{value}', which is not a split.{known}",
                code="RK304",
            )
        return SPLIT_WORDS[word]

    def _passages(self, row: Mapping[str, Any], place: RecordLocation) -> Iterator[Passage]:
        roles = self.roles
        texts = self._texts(row, roles.positive, place, "positive")
        titles = self._beside(row, roles.title, len(texts), place)
        ids = self._beside(row, roles.passage_id, len(texts), place)
        for text, title, id in zip(texts, titles, ids, strict=True):
            if text.strip():
                yield self._passage(
                    text,
                    "" if _absent(title) else str(title),
                    self._id(id, place, roles.passage_id),
                )

    def _passage(self, text: str, title: str = "", id: str = "") -> Passage:
        return Passage(id or _digest(f"{title}\0{text}").hex(), text, title)

    def _beside(
        self, row: Mapping[str, Any], column: str | None, n: int, place: RecordLocation
    ) -> list[Any]:
        """The values that belong to n passages: a list of n, or one value for one passage."""
        value = row.get(column) if column else None
        if value is None:
            return [None] * n
        values = list(value) if isinstance(value, list | tuple) else [value]
        if len(values) != n:
            raise DataError(
                f"{place}: '{column}' has {len(values)} values for {n} in '{self.roles.positive}'",
                code="RK304",
            )
        return values

    def _once(self, record: Record, content: str) -> Iterator[Record]:
        digest = _digest(content)
        if digest not in self._given:
            self._given.add(digest)
            yield record

    def _value(self, row: Mapping[str, Any], column: str, key: str, place: RecordLocation) -> Any:
        if column not in row:
            raise _missing(column, key, row.keys(), place)
        return row[column]

    def _texts(
        self,
        row: Mapping[str, Any],
        column: str,
        place: RecordLocation,
        key: str | None = None,
        *,
        one: bool = False,
    ) -> list[str]:
        """The texts in a column, which must be there if a key is given; null and NaN are none."""
        value = self._value(row, column, key, place) if key else row.get(column)
        values = list(value) if isinstance(value, list | tuple) and not one else [value]
        texts = []
        for item in values:
            if isinstance(item, str):
                texts.append(item)
            elif _absent(item):
                texts.append("")
            else:
                raise DataError(
                    f"{place}: '{column}' holds {item!r:.60}, which is not text", code="RK304"
                )
        return texts

    def _id(self, value: Any, place: RecordLocation, column: str | None) -> str:
        """An id as text; empty where there is none."""
        if _absent(value):
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(
                f"{place}: '{column}' holds {value!r:.60}, which is not an id: expected text or a whole number",
                code="RK304",
            )
        return str(value)


def _absent(value: Any) -> bool:
    """Whether a cell is empty: null, or NaN, as data frames write it."""
    return value is None or (isinstance(value, float) and value != value)


def _digest(text: str) -> bytes:
    # Collect cleans texts; here they may still hold unpaired surrogates.
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
