"""BEIR data sets: a corpus, queries, and judgments (qrels) that join them by id."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from recipekit.component import Context, LocalPath, Progress, SourceSpec
from recipekit.data_files.compression import plain_or_compressed, without_compression
from recipekit.data_files.delimited import delimited_header, delimited_rows
from recipekit.data_files.formats import check_folder, finite_number
from recipekit.data_files.json_lines import json_rows
from recipekit.data_files.locations import RecordLocation, Row
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.sources.columns import apply_threshold
from recipekit.sources.locations import LocatedRecords, LocatedSource
from recipekit.sources.pair_reader import SPLIT_ALIASES
from recipekit.suggestions import did_you_mean

__all__ = ["BeirReader", "BeirSpec", "QrelsOf"]

QrelsOf = Literal["train", "dev", "test", "all"]
"""The split of the queries in a qrels file; `collect.split` divides the queries of `all`."""

Grade = Annotated[float, Field(gt=0)]
Rows = Callable[[], Iterator[Row]]

QRELS_COLUMNS: Final = ("query-id", "corpus-id", "score")
DEFAULT_QRELS: Mapping[QrelsOf, str] = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}


class BeirSpec(SourceSpec):
    """A folder in BEIR layout: `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv`.

    Each file may be compressed (.gz, .bz2, .xz, .zst). A query belongs to the split whose qrels
    file lists it. Queries that no qrels file lists are left out, with a warning if a file that is
    not read lists them.
    """

    folder: LocalPath
    """The folder that holds `corpus.jsonl`."""
    splits: dict[QrelsOf, str] | None = Field(default=None, min_length=1)
    """The file in `qrels/` for each split: `{train: train.tsv, test: test.tsv}`. Queries under
    `all` are divided by `collect.split`. By default train.tsv, dev.tsv and test.tsv, if they
    exist."""
    min_positive_grade: Grade | dict[QrelsOf, Grade] | None = None
    """The lowest grade of a positive, for all splits or by split (`{train: 2}`); by default any
    grade above 0."""
    below_min_grade: Literal["negative", "unlabelled"] = "negative"
    """Whether a lower grade is a judged negative, or counts as no label."""

    def files(self) -> Mapping[str, Path]:
        """Return the files to read, or the folder `qrels` if it has none of them."""
        qrels = {f"qrels.{split}": path for split, path in self._qrels().items()}
        return {
            "corpus.jsonl": self._texts("corpus"),
            "queries.jsonl": self._texts("queries"),
            **(qrels or {"qrels": self.folder / "qrels"}),
        }

    def build(self, context: Context) -> LocatedSource:
        """Return the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context.progress, counts), counts)

    def _texts(self, name: str) -> Path:
        return plain_or_compressed(self.folder / f"{name}.jsonl")

    def _qrels(self) -> dict[QrelsOf, Path]:
        names = self.splits or DEFAULT_QRELS
        paths = {
            split: plain_or_compressed(self.folder / "qrels" / name)
            for split, name in names.items()
        }
        if self.splits is not None:
            return paths
        return {split: path for split, path in paths.items() if path.exists()}

    def _located(self, progress: Progress, counts: dict[str, int]) -> LocatedRecords:
        self._check_files()
        self._warn_of_unread_files(progress)
        reader = BeirReader(
            corpus=partial(json_rows, self._texts("corpus")),
            queries=partial(json_rows, self._texts("queries")),
            qrels={split: partial(_qrels_rows, path) for split, path in self._qrels().items()},
            name=str(self.folder),
            min_positive_grade=self.min_positive_grade,
            below_min_grade=self.below_min_grade,
            counts=counts,
        )
        return reader.located(progress)

    def _check_files(self) -> None:
        check_folder(self.folder, expected="the folder that holds corpus.jsonl")
        for name in ("corpus", "queries"):
            if not self._texts(name).exists():
                raise DataError(
                    f"{self.folder}: no {name}.jsonl, plain or compressed", code="RK301"
                )
        folder = self.folder / "qrels"
        existing = sorted(path.name for path in folder.glob("*.tsv*"))
        found = f"found {', '.join(existing) or 'none'}"
        paths = self._qrels().values()
        if not paths:
            raise DataError(
                f"{folder}: no train.tsv, dev.tsv or test.tsv; {found}. Name other files in "
                "`splits`.",
                code="RK301",
            )
        for path in paths:
            if not path.exists():
                raise DataError(
                    f"{path}: no such file; {found}.{did_you_mean(path.name, existing)}",
                    code="RK301",
                )
            _check_qrels(path)

    def _warn_of_unread_files(self, progress: Progress) -> None:
        """Warn of files in `qrels` without a usual name, unless others list their queries."""
        if self.splits is not None:
            return
        read = self._qrels()
        unread = [
            path
            for path in sorted((self.folder / "qrels").iterdir())
            if without_compression(path).suffix == ".tsv" and path not in read.values()
        ]
        listed = {id for path in read.values() for id in _query_ids(path)} if unread else set()
        for path in unread:
            reason = ""
            try:
                _check_qrels(path)
                left_out = len(set(_query_ids(path)) - listed)
                if not left_out:
                    continue
                queries = "1 query" if left_out == 1 else f"{left_out:,} queries"
                reason = f", although it has {queries} that no other file has"
            except DataError:  # files that are not read need not be valid
                pass
            progress.warn(f"{path}: not read{reason}; {_advice(path, read)}")


def _qrels_rows(path: Path) -> Iterator[Row]:
    return delimited_rows(path, "\t", quoting="none")


def _query_ids(path: Path) -> Iterator[str]:
    return (_id(row, "query-id", location) for location, row in _qrels_rows(path))


def _advice(path: Path, read: Mapping[QrelsOf, Path]) -> str:
    """Which `splits` read one more file."""
    name = without_compression(path).name
    split = SPLIT_ALIASES.get(name.removesuffix(".tsv").lower())
    if split is None or split in read:
        return "to read it, name it in `splits`"
    names = {each: without_compression(file).name for each, file in read.items()} | {split: name}
    written = ", ".join(f"{each}: {file}" for each, file in names.items())
    return f"to read it, set `splits: {{{written}}}`"


def _check_qrels(path: Path) -> None:
    """Check the header of a file of qrels, and that it has rows.

    Raises:
        DataError: It lacks a column, or has no rows.
    """
    header = delimited_header(path, "\t", quoting="none")
    if header is not None:
        location, names = header
        for name in QRELS_COLUMNS:
            if name not in names:
                raise _invalid(dict.fromkeys(names), name, location, "")
    if next(_qrels_rows(path), None) is None:
        raise DataError(f"{path}: no rows", code="RK306")


@dataclass
class BeirReader:
    """Turns the rows of the three parts of a BEIR data set into records."""

    corpus: Rows
    """Rows with `_id`, `text` and optionally `title`."""
    queries: Rows
    """Rows with `_id` and `text`."""
    qrels: Mapping[QrelsOf, Rows]
    """Rows with `query-id`, `corpus-id` and `score`, by split."""
    name: str
    """The name of the data set in error messages."""
    min_positive_grade: float | Mapping[QrelsOf, float] | None = None
    """As in `BeirSpec`."""
    below_min_grade: Literal["negative", "unlabelled"] = "negative"
    """As in `BeirSpec`."""
    counts: dict[str, int] = field(default_factory=dict)
    """Updated with `queries_without_label`, the number of queries left out."""

    def located(self, progress: Progress) -> LocatedRecords:
        """Yield passages, queries and labels with their locations.

        Raises:
            DataError: A row lacks a key, a value is not text, an id or a number, or one of the
                three parts is empty.
        """
        splits = self._splits_by_query()
        yield from self._passages()
        yield from self._queries(splits)
        self._check_not_empty("labels", len(splits))
        for split in self.qrels:
            yield from self._labels(split, splits)
        if left_out := self.counts["queries_without_label"]:
            progress.log("queries_without_label", source=self.name, queries=left_out)

    def _splits_by_query(self) -> dict[str, list[QrelsOf]]:
        """Return the splits that list each query id, in the order test, dev, train, all."""
        found: dict[str, list[QrelsOf]] = {}
        for split in sorted(self.qrels, key=("test", "dev", "train", "all").index):
            for location, row in self.qrels[split]():
                splits = found.setdefault(_id(row, "query-id", location), [])
                if split not in splits:
                    splits.append(split)
        return found

    def _passages(self) -> LocatedRecords:
        n_rows = 0
        for location, row in self.corpus():
            n_rows += 1
            text = _text(row, "text", location)
            title = _text(row, "title", location, optional=True)
            yield location, Passage(_id(row, "_id", location), text, title)
        self._check_not_empty("passages", n_rows)

    def _queries(self, splits: Mapping[str, list[QrelsOf]]) -> LocatedRecords:
        self.counts["queries_without_label"] = 0
        n_rows = 0
        for location, row in self.queries():
            n_rows += 1
            id, text = _id(row, "_id", location), _text(row, "text", location)
            if id not in splits:
                self.counts["queries_without_label"] += 1
            for split in splits.get(id, ()):
                own_split = None if split == "all" else split
                yield location, Query(_id_in_split(id, split, splits[id]), text, own_split)
        self._check_not_empty("queries", n_rows)

    def _labels(self, split: QrelsOf, splits: Mapping[str, list[QrelsOf]]) -> LocatedRecords:
        threshold = self.min_positive_grade
        if isinstance(threshold, Mapping):
            threshold = threshold.get(split)
        for location, row in self.qrels[split]():
            query = _id(row, "query-id", location)
            score = finite_number(row.get("score"), location, "score")
            grade = apply_threshold(score, threshold)
            if grade > 0 or self.below_min_grade == "negative":
                query_id = _id_in_split(query, split, splits[query])
                yield location, Label(query_id, _id(row, "corpus-id", location), grade)

    def _check_not_empty(self, part: str, size: int) -> None:
        if size == 0:
            raise DataError(f"{self.name}: no {part}", code="RK306")


def _id_in_split(id: str, split: QrelsOf, splits: list[QrelsOf]) -> str:
    """Return the id of a query in a split.

    A query that several splits list becomes one query per split, so that the labels stay apart
    until collect keeps one of them.
    """
    return id if split == splits[0] else f"{id}@{split}"


def _id(row: Mapping[str, Any], key: str, location: RecordLocation) -> str:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _invalid(row, key, location, "an id")
    return str(value)


def _text(
    row: Mapping[str, Any], key: str, location: RecordLocation, *, optional: bool = False
) -> str:
    """Return a text; null is the empty text, and so is NaN, which data frames write for null."""
    value = row.get(key)
    if value is None and (optional or key in row):
        return ""
    if isinstance(value, float) and math.isnan(value):
        return ""
    if not isinstance(value, str):
        raise _invalid(row, key, location, "text")
    return value


def _invalid(row: Mapping[str, Any], key: str, location: RecordLocation, kind: str) -> DataError:
    if key in row:
        return DataError(
            f"{location}: '{key}' is {row[key]!r:.60}, which is not {kind}", code="RK304"
        )
    found = f"found {', '.join(row)}"
    if len(row) == 1 and key in next(iter(row)):
        found += " as one column: separate the columns with tabs"
    return DataError(
        f"{location}: no '{key}', which the BEIR layout requires; {found}", code="RK305"
    )
