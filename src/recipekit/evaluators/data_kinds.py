"""Kinds of evaluation data: scored pairs, labelled pairs, triplets, classes, parallel sentences.

Each kind is read from a file of its own and is never part of the collected data set, so that a
similarity score of 0.8 cannot become a positive label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from recipekit.data_files.clean_text import clean_text
from recipekit.data_files.formats import finite_number
from recipekit.data_files.locations import RecordLocation, Row
from recipekit.errors import DataError
from recipekit.table_file import TableFile, missing_column

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = [
    "Classes",
    "ClassesFile",
    "EvaluationFile",
    "LabelledPairs",
    "LabelledPairsFile",
    "ParallelSentences",
    "ParallelSentencesFile",
    "RankedLists",
    "RankedListsFile",
    "ScoredPairs",
    "ScoredPairsFile",
    "Triplets",
    "TripletsFile",
]

Warn = Callable[[str], None]
Cell = str | int | bool


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of texts with a similarity score on any scale, (n,) each."""

    first: Sequence[str]
    second: Sequence[str]
    scores: Sequence[float]


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of texts that have the same meaning or not, (n,) each."""

    first: Sequence[str]
    second: Sequence[str]
    labels: Sequence[bool]


@dataclass(frozen=True)
class Triplets:
    """An anchor, a text that is close to it, and one that is not, (n,) each."""

    anchor: Sequence[str]
    positive: Sequence[str]
    negative: Sequence[str]


@dataclass(frozen=True)
class Classes:
    """Texts with the name of their class, (n,) each."""

    texts: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True)
class ParallelSentences:
    """The same n sentences in several languages, by language."""

    sentences: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class RankedLists:
    """Queries with the passages to rank for each, and the grade of each passage."""

    queries: Sequence[str]
    passages: Sequence[Sequence[str]]
    grades: Sequence[Sequence[float]]


class EvaluationFile(TableFile):
    """A file of evaluation data, and which of its rows count."""

    where: dict[str, Cell | tuple[Cell, ...]] = Field(default={})
    """Read only rows with these values, by column: `{split: test}`, `{year: [2015, 2016]}`."""

    def files(self) -> Mapping[str, Path]:
        """Return the file."""
        return self.named_file("data")

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

    def matching(self, columns: Mapping[str, str], scratch: Path, warn: Warn | None) -> list[Row]:
        """Return the rows that count.

        Raises:
            DataError: The file cannot be read, lacks a column, or has no such row.
        """
        wanted = {column: _texts_of(values) for column, values in self.where.items()}
        named = {**columns, **dict.fromkeys(wanted, "where")}
        rows = [
            (location, row)
            for location, row in self.rows(named, scratch, warn)
            if all(_cell(row, c, "where", location) in values for c, values in wanted.items())
        ]
        if not rows:
            listed = ", ".join(f"{name}: {' or '.join(texts)}" for name, texts in wanted.items())
            reason = f"no row with {listed}" if listed else "no rows"
            raise DataError(f"{self.file}: {reason}", code="RK306")
        return rows


class ScoredPairsFile(EvaluationFile):
    """A file of text pairs with similarity scores."""

    first: str = "sentence1"
    """Column of the first text."""
    second: str = "sentence2"
    """Column of the second text."""
    score: str = "score"
    """Column of the similarity score, on any scale; higher is more similar."""

    def read(self, scratch: Path, warn: Warn | None = None) -> ScoredPairs:
        """Read the pairs.

        Raises:
            DataError: A row lacks a text or a finite score, there are fewer than two pairs, or all
                scores are equal.
        """
        columns = {self.first: "first", self.second: "second", self.score: "score"}
        rows = self.matching(columns, scratch, warn)
        scores = [
            finite_number(_value(row, self.score, "score", location), location, self.score)
            for location, row in rows
        ]
        if len(set(scores)) < 2:
            raise DataError(
                f"{self.file}: all values of '{self.score}' are {scores[0]:g}: a correlation needs "
                "different scores",
                code="RK304",
            )
        first = [_text(row, self.first, "first", location) for location, row in rows]
        second = [_text(row, self.second, "second", location) for location, row in rows]
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

    def read(self, scratch: Path, warn: Warn | None = None) -> LabelledPairs:
        """Read the pairs.

        Raises:
            DataError: A row lacks a text, or has a label that is not listed, or only one of the
                two labels occurs.
        """
        columns = {self.first: "first", self.second: "second", self.label: "label"}
        rows = self.matching(columns, scratch, warn)
        labels = [self._label(row, location) for location, row in rows]
        if len(set(labels)) < 2:
            missing = "negative" if labels[0] else "positive"
            raise DataError(f"{self.file}: no pair has a {missing} label", code="RK304")
        first = [_text(row, self.first, "first", location) for location, row in rows]
        second = [_text(row, self.second, "second", location) for location, row in rows]
        return LabelledPairs(first, second, labels)

    def _label(self, row: Mapping[str, Any], location: RecordLocation) -> bool:
        label = _cell(row, self.label, "label", location)
        if label in _texts_of(self.positive_labels):
            return True
        if self.negative_labels is None or label in _texts_of(self.negative_labels):
            return False
        listed = [*_texts_of(self.positive_labels), *_texts_of(self.negative_labels)]
        raise DataError(
            f"{location}: '{self.label}' is '{label:.60}', which is neither in positive_labels nor "
            f"in negative_labels ({', '.join(listed)})",
            code="RK304",
        )


class TripletsFile(EvaluationFile):
    """A file of triplets, or of sentence pairs labelled by inference (NLI)."""

    anchor: str = "anchor"
    """Column of the anchor, or of the premise."""
    positive: str | None = "positive"
    """Column of the close text; null with `hypothesis`."""
    negative: str | None = "negative"
    """Column of the other text; null with `hypothesis`."""
    hypothesis: str | None = None
    """For NLI data: column of the hypothesis. Each premise with an entailed and a contradicted
    hypothesis gives triplets (premise, entailed, contradicted), one per two of them in file order.
    """
    label: str = "label"
    """For NLI data: column of the label."""
    entailment: Cell = "entailment"
    """For NLI data: the label of an entailed hypothesis."""
    contradiction: Cell = "contradiction"
    """For NLI data: the label of a contradicted hypothesis."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.hypothesis is None and (self.positive is None or self.negative is None):
            raise ValueError("set positive and negative, or hypothesis for NLI data")
        return self

    def read(self, scratch: Path, warn: Warn | None = None) -> Triplets:
        """Read the triplets.

        Raises:
            DataError: A row lacks a text, or NLI data gives no triplet.
        """
        if self.hypothesis is not None:
            return self._from_inference(self.hypothesis, scratch, warn)
        assert self.positive is not None and self.negative is not None
        keys = {"anchor": self.anchor, "positive": self.positive, "negative": self.negative}
        rows = self.matching({column: key for key, column in keys.items()}, scratch, warn)
        texts = {
            key: [_text(row, column, key, location) for location, row in rows]
            for key, column in keys.items()
        }
        return Triplets(texts["anchor"], texts["positive"], texts["negative"])

    def _from_inference(self, hypothesis: str, scratch: Path, warn: Warn | None) -> Triplets:
        columns = {self.anchor: "anchor", hypothesis: "hypothesis", self.label: "label"}
        entailed: dict[str, list[str]] = {}
        contradicted: dict[str, list[str]] = {}
        for location, row in self.matching(columns, scratch, warn):
            label = _cell(row, self.label, "label", location)
            for name, found in (
                (self.entailment, entailed),
                (self.contradiction, contradicted),
            ):
                if label == _as_text(name):
                    premise = _text(row, self.anchor, "anchor", location)
                    found.setdefault(premise, []).append(
                        _text(row, hypothesis, "hypothesis", location)
                    )
        triplets = [
            (premise, positive, negative)
            for premise, positives in entailed.items()
            for positive, negative in zip(positives, contradicted.get(premise, []), strict=False)
        ]
        if not triplets:
            raise DataError(
                f"{self.file}: no premise has both a hypothesis labelled '{self.entailment}' and "
                f"one labelled '{self.contradiction}'",
                code="RK304",
            )
        anchor, positive, negative = zip(*triplets, strict=True)
        return Triplets(anchor, positive, negative)


class ClassesFile(EvaluationFile):
    """A file of texts with their classes."""

    text: str = "text"
    """Column of the text."""
    label: str = "label"
    """Column of the class."""

    def read(self, scratch: Path, warn: Warn | None = None) -> Classes:
        """Read the texts.

        Raises:
            DataError: A row lacks a text or a class, or there is only one class.
        """
        rows = self.matching({self.text: "text", self.label: "label"}, scratch, warn)
        texts = [_text(row, self.text, "text", location) for location, row in rows]
        labels = [_cell(row, self.label, "label", location) for location, row in rows]
        if len(set(labels)) < 2:
            raise DataError(f"{self.file}: there is only one class, '{labels[0]}'", code="RK304")
        return Classes(texts, labels)


class ParallelSentencesFile(EvaluationFile):
    """A file of sentences with their translations, one row per sentence."""

    languages: Annotated[dict[str, str], Field(min_length=2)]
    """The column of each language: `{en: english, de: german}`."""

    def read(self, scratch: Path, warn: Warn | None = None) -> ParallelSentences:
        """Read the sentences that exist in all languages.

        Raises:
            DataError: Fewer than two rows have a text in every language.
        """
        columns = {column: "languages" for column in self.languages.values()}
        complete: list[list[str]] = []
        rows = self.matching(columns, scratch, warn)
        for location, row in rows:
            texts = [
                _optional_text(row, column, "languages", location)
                for column in self.languages.values()
            ]
            if all(texts):
                complete.append(texts)
        if len(complete) < 2:
            raise DataError(
                f"{self.file}: fewer than two rows have a text in every language", code="RK304"
            )
        if warn is not None and len(complete) < len(rows):
            left_out = len(rows) - len(complete)
            warn(f"{self.file}: {left_out} rows lack a language and are left out")
        columns_of = zip(*complete, strict=True)
        return ParallelSentences(dict(zip(self.languages, columns_of, strict=True)))


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

    def read(self, scratch: Path, warn: Warn | None = None) -> RankedLists:
        """Read the lists; queries whose passages are all relevant, or none, are left out.

        Raises:
            DataError: A row lacks a text or a finite grade, or no query is left.
        """
        columns = {self.query: "query", self.positive: "positive"}
        other = self.label or self.negative
        if other is not None:
            columns[other] = "label" if self.label else "negative"
        lists: dict[str, dict[str, float]] = {}
        for location, row in self.matching(columns, scratch, warn):
            found = lists.setdefault(_text(row, self.query, "query", location), {})
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
            warn(
                f"{self.file}: {len(lists) - len(usable)} queries have only relevant passages, or "
                "none, and are left out"
            )
        passages = [list(found) for found in usable.values()]
        grades = [list(found.values()) for found in usable.values()]
        return RankedLists(list(usable), passages, grades)

    def _passages(
        self, row: Mapping[str, Any], location: RecordLocation
    ) -> Iterator[tuple[str, float]]:
        if self.label is not None:
            value = _value(row, self.label, "label", location)
            grade = finite_number(value, location, self.label)
            yield _text(row, self.positive, "positive", location), grade
            return
        for text in _list(row, self.positive, "positive", location):
            yield text, 1.0
        if self.negative is not None:
            for text in _list(row, self.negative, "negative", location):
                yield text, 0.0


# Cells
# -------------------------------------------------------------------------------------------------


def _value(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> Any:
    if column not in row:
        raise missing_column(column, key, row.keys(), location)
    return row[column]


def _optional_text(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> str:
    """Return the text of a cell, empty where there is none."""
    return _as_cell_text(_value(row, column, key, location), column, location)


def _text(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> str:
    text = _optional_text(row, column, key, location)
    if not text:
        raise DataError(f"{location}: '{column}' has no text", code="RK304")
    return text


def _list(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> list[str]:
    value = _value(row, column, key, location)
    values = value if isinstance(value, list | tuple) else [value]
    texts = [_as_cell_text(one, column, location) for one in values]
    return [text for text in texts if text]


def _as_cell_text(value: Any, column: str, location: RecordLocation) -> str:
    is_missing = value is None or (isinstance(value, float) and value != value)
    if is_missing:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{location}: '{column}' is {value!r:.60}, which is not text", code="RK304")
    return clean_text(value) if value.strip() else ""


def _cell(row: Mapping[str, Any], column: str, key: str, location: RecordLocation) -> str:
    """Return a cell that holds a name or a number, as text."""
    value = _value(row, column, key, location)
    if value is None or value == "" or isinstance(value, list | dict):
        raise DataError(
            f"{location}: '{column}' is {value!r:.60}; a name is expected", code="RK304"
        )
    return _as_text(value)


def _as_text(value: Any) -> str:
    """Return one text for equal values of a recipe and of any file format."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _texts_of(values: Any) -> list[str]:
    listed = values if isinstance(values, list | tuple) else [values]
    return [_as_text(value) for value in listed]
