"""Guesses the role of each column of a table from its name and a sample of its values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recipekit.errors import DataError
from recipekit.sources.columns import LABEL_NAMES
from recipekit.sources.pair_reader import SPLIT_ALIASES
from recipekit.table_file import missing_column

__all__ = ["ColumnRoles", "UnclearColumnsError", "guess_roles"]

QUERY_NAMES: Final = (
    "query question anchor search keyword prompt q instruction input utterance request claim "
    "problem issue subject headline frage anfrage pregunta consulta title sentence1 text1 "
    "premise name"
).split()
POSITIVE_NAMES: Final = (
    "positive pos answer passage document doc response reply solution antwort respuesta reponse "
    "context paragraph content body text description abstract article output completion code "
    "summary sentence2 text2 hypothesis product"
).split()
"""Names of columns, the clearest first."""
NEGATIVE_NAMES: Final = ("negative", "neg")
TITLE_NAMES: Final = ("title", "passagetitle", "documenttitle", "doctitle", "positivetitle")
QUERY_ID_NAMES: Final = ("queryid", "qid", "questionid")
PASSAGE_ID_NAMES: Final = (
    "passageid pid positiveid documentid docid docno corpusid answerid".split()
)
SPLIT_NAMES: Final = ("split", "splitname", "subset", "partition")
NOT_TEXT: Final = frozenset(
    "id ids type lang language date time url link count len length score rank source num".split()
)
"""Words in the names of columns that describe a text and do not hold it."""
HIGHEST_GRADE: Final = 10
ROLES: Final = {"query": "the queries", "positive": "the passages that answer them"}
"""What a column holds, by the key of the source `pairs` that names it."""


class UnclearColumnsError(DataError):
    """The columns of queries and positives cannot be guessed.

    `missing` has the keys of the source `pairs` that must name a column.
    """

    def __init__(self, table: str, missing: Sequence[str], columns: Sequence[str]) -> None:
        self.missing = tuple(missing)
        unknown = " and which ".join(ROLES[key] for key in missing)
        super().__init__(
            f"{table}: cannot tell which column holds {unknown}; columns: {', '.join(columns)}",
            code="RK305",
        )

    def with_message(self, message: str) -> DataError:
        """Return a plain error with the new message, without the missing keys."""
        return DataError(message, code=self.code)


@dataclass(frozen=True)
class ColumnRoles:
    """The columns of a table by their role; the names are keys of the source `pairs`."""

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    label: str | None = None
    title: str | None = None
    query_id: str | None = None
    passage_id: str | None = None
    split_column: str | None = None
    other_texts: tuple[str, ...] = ()
    """Columns of text without a role."""
    unused_label: str | None = None
    """A column whose name is that of a label, but whose values are not grades."""
    score: str | None = None
    """The column of labels, used or not, if it has a number for each pair of two texts."""

    @property
    def has_scores(self) -> bool:
        """Whether rows are pairs with a score that is not a grade, such as a similarity."""
        return self.score is not None and self.label is None

    def keys(self) -> dict[str, Any]:
        """The keys of the source that name the columns."""
        names = ("query", "positive", "label", "title", "query_id", "passage_id", "split_column")
        keys = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return keys | ({"negatives": list(self.negatives)} if self.negatives else {})


def guess_roles(
    table: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    complete: bool,
    query: str | None = None,
    positive: str | None = None,
) -> ColumnRoles:
    """Return the role of each column.

    Args:
        table: The table's name, for messages.
        rows: The first rows, at least one.
        complete: Whether these are all rows. Ids are used only then, since two texts with one id
            would end the run.
        query: The column of queries, if it is known.
        positive: The column of positives, if it is known.

    Raises:
        UnclearColumnsError: The columns of queries and positives cannot be guessed.
        DataError: A named column does not exist or holds no text.
    """
    sample = _Sample(table, rows)
    for key, column in (("query", query), ("positive", positive)):
        if column is not None:
            sample.check_text(column, key)
    if query is not None and query == positive:
        raise DataError(f"{table}: `query` and `positive` name the same column", code="RK305")
    query, positive = _query_and_positive(sample, query, positive)
    free = [column for column in sample.columns if column not in (query, positive)]
    texts = [column for column in free if column in sample.texts]
    negatives = tuple(column for column in texts if _named(column, NEGATIVE_NAMES))
    title = _first(texts, TITLE_NAMES) if sample.is_single(positive) else None
    label = None if negatives else _first(filter(sample.is_grade, free), LABEL_NAMES)
    unused_label = None if label else _first(free, LABEL_NAMES)
    pairs = not negatives and sample.is_single(positive)
    scores = [name for name in (label or unused_label,) if name and pairs]
    ids = [column for column in free if complete and sample.is_id(column)]
    return ColumnRoles(
        query,
        positive,
        negatives,
        label,
        title,
        _first((name for name in ids if sample.identifies(name, [query])), QUERY_ID_NAMES),
        _first(
            (
                name
                for name in ids
                if sample.is_single(positive) and sample.identifies(name, [positive, title])
            ),
            PASSAGE_ID_NAMES,
        ),
        _first(filter(sample.is_split, free), SPLIT_NAMES),
        tuple(name for name in texts if name not in negatives and name != title),
        unused_label,
        next(filter(sample.is_score, scores), None),
    )


def _query_and_positive(
    sample: _Sample, query: str | None, positive: str | None
) -> tuple[str, str]:
    free = [column for column in sample.texts if column not in (query, positive)]
    candidates = [column for column in free if not _named(column, NEGATIVE_NAMES)]
    if query is None:
        single = [column for column in candidates if sample.is_single(column)]
        query = _best(single, QUERY_NAMES)
    if positive is None:
        positive = _best([column for column in candidates if column != query], POSITIVE_NAMES)
    rest = [column for column in candidates if column not in (query, positive)]
    if query is None and positive is not None and len(rest) == 1 and sample.is_single(rest[0]):
        query = rest[0]
    elif positive is None and query is not None and len(rest) == 1:
        positive = rest[0]
    elif query is None and positive is None and len(rest) == 2 and sample.is_single(rest[0]):
        query, positive = rest
    if query is None or positive is None:
        found = {"query": query, "positive": positive}
        missing = [key for key, column in found.items() if column is None]
        raise UnclearColumnsError(sample.table, missing, sample.columns)
    return query, positive


@dataclass
class _Sample:
    """The first rows of a table."""

    table: str
    rows: Sequence[Mapping[str, Any]]
    columns: list[str] = field(init=False)
    """All columns, in the order of their first appearance."""
    texts: list[str] = field(init=False)
    """The columns that every row has, with nothing but text, or lists of text."""

    def __post_init__(self) -> None:
        self.columns = list(dict.fromkeys(column for row in self.rows for column in row))
        self.texts = [
            column
            for column in self.columns
            if self._holds_text(column) and not NOT_TEXT & set(_words(column))
        ]

    def values(self, column: str) -> Iterator[Any]:
        """The values of a column that are not missing."""
        for row in self.rows:
            value = row.get(column)
            if value is not None and value != "" and value == value:
                yield value

    def is_single(self, column: str) -> bool:
        """Whether a column has one value in each row, and no lists."""
        return not any(isinstance(value, list) for value in self.values(column))

    def is_grade(self, column: str) -> bool:
        """Whether a column holds whole numbers from 0, of which some are above 0."""
        numbers = [_number(value) for value in self.values(column)]
        good = all(n is not None and n == int(n) and 0 <= n <= HIGHEST_GRADE for n in numbers)
        full = len(numbers) == len(self.rows)
        return good and full and any(numbers)

    def is_score(self, column: str) -> bool:
        """Whether a column holds a finite number in every row, and different ones."""
        numbers = [_number(value) for value in self.values(column)]
        finite = all(n is not None and math.isfinite(n) for n in numbers)
        return finite and len(numbers) == len(self.rows) and len(set(numbers)) > 1

    def is_id(self, column: str) -> bool:
        """Whether every value can be an id: text or a whole number."""
        return all(
            isinstance(value, str | int) and not isinstance(value, bool)
            for value in self.values(column)
        )

    def identifies(self, column: str, contents: Sequence[str | None]) -> bool:
        """Whether rows with the same id have the same texts in some other columns."""
        seen: dict[str, list[Any]] = {}
        for row in self.rows:
            content = [row.get(name) for name in contents if name]
            if seen.setdefault(str(row.get(column)), content) != content:
                return False
        return True

    def is_split(self, column: str) -> bool:
        """Whether a column names the split of each row, some of them not train."""
        names = [SPLIT_ALIASES.get(str(value).strip().lower()) for value in self.values(column)]
        return None not in names and "train" in names and len(set(names)) > 1

    def check_text(self, column: str, key: str) -> None:
        """Check that a column exists and holds text.

        Raises:
            DataError: It does not.
        """
        if column not in self.columns:
            raise missing_column(column, key, self.columns, self.table)
        if not self._holds_text(column):
            raise DataError(
                f"{self.table}: the column '{column}' for `{key}` holds no text, or not in "
                "every row",
                code="RK305",
            )

    def _holds_text(self, column: str) -> bool:
        values = list(self.values(column))
        present = all(column in row for row in self.rows)
        return present and all(map(_is_text, values)) and any(map(_number_free, values))


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _number_free(value: Any) -> bool:
    """Whether a text is more than a number."""
    return isinstance(value, list) or (bool(value.strip()) and _number(value) is None)


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _words(column: str) -> list[str]:
    """The words of a column's name, singular: `bestAnswer_Texts` is best, answer, text."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    return [_singular(word.lower()) for word in re.findall(r"[^\W_]+", spaced)]


def _singular(word: str) -> str:
    is_plural = len(word) > 3 and not word.endswith(("is", "ss", "us"))
    return word.removesuffix("s") if is_plural else word


def _best(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column whose name is the earliest of `names`, else one that contains such a word."""
    listed = list(columns)
    for wanted in names:
        for column in listed:
            if "".join(_words(column)) == wanted:
                return column
    for wanted in names:
        for column in listed:
            if wanted in _words(column):
                return column
    return None


def _first(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column whose name, without separators, is the earliest of `names`."""
    listed = list(columns)
    for wanted in names:
        for column in listed:
            if "".join(_words(column)) == wanted:
                return column
    return None


def _named(column: str, names: Sequence[str]) -> bool:
    return any(re.sub(r"\d+$", "", word) in names for word in _words(column))
