"""BEIR data sets: a corpus, queries, and judgments (qrels) that join them by id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from recipekit.component import Context, LocalPath, Progress, SourceSpec
from recipekit.errors import DataError
from recipekit.records import SPLITS, Label, Passage, Query
from recipekit.sources.columns import relevant
from recipekit.sources.files import delimited_rows, finite, json_rows, plain_or_gzipped
from recipekit.sources.locations import LocatedSource, Record, RecordLocation, Row
from recipekit.suggestions import did_you_mean

__all__ = ["BeirReader", "BeirSpec", "QrelsOf"]

QrelsOf = Literal["train", "dev", "test", "all"]
"""A split whose queries a qrels file lists; those of `all` are divided as the recipe says."""

Least = Annotated[float, Field(gt=0)]
Rows = Callable[[], Iterator[Row]]


class BeirSpec(SourceSpec):
    """A folder in BEIR layout: `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv`.

    Each file may be gzipped. A query belongs to the split whose qrels file lists it. Queries that
    no qrels file lists are left out.
    """

    folder: LocalPath
    """The folder that holds `corpus.jsonl`."""
    splits: dict[QrelsOf, str] | None = Field(default=None, min_length=1)
    """The file in `qrels/` for each split: `{train: train.tsv, test: test.tsv}`. Queries under `all`
    are divided by `collect.split`. By default train.tsv, dev.tsv and test.tsv, if they exist."""
    min_positive_grade: Least | dict[QrelsOf, Least] | None = None
    """The lowest grade of a positive, for all splits or by split (`{train: 2}`); by default any grade
    above 0."""
    below_min_grade: Literal["negative", "unlabelled"] = "negative"
    """Whether a lower grade is a judged negative, or counts as no label."""

    def files(self) -> Mapping[str, Path]:
        """The files that are read; the folder where it has none of them."""
        found = {
            name: plain_or_gzipped(self.folder / name) for name in ("corpus.jsonl", "queries.jsonl")
        }
        qrels = {f"qrels.{split}": path for split, path in self._qrels().items()}
        return {**found, **(qrels or {"qrels": self.folder / "qrels"})}

    def build(self, context: Context) -> LocatedSource:
        """Make the source."""
        counts: dict[str, int] = {}
        return LocatedSource(partial(self._located, context.progress, counts), counts)

    def _qrels(self) -> dict[QrelsOf, Path]:
        folder = self.folder / "qrels"
        if self.splits is not None:
            return {split: plain_or_gzipped(folder / name) for split, name in self.splits.items()}
        usual = {split: plain_or_gzipped(folder / f"{split}.tsv") for split in SPLITS}
        return {split: path for split, path in usual.items() if path.exists()}  # type: ignore[misc]

    def _located(
        self, progress: Progress, counts: dict[str, int]
    ) -> Iterator[tuple[RecordLocation, Record]]:
        self._check_folder()
        files = {
            name: plain_or_gzipped(self.folder / f"{name}.jsonl") for name in ("corpus", "queries")
        }
        reader = BeirReader(
            corpus=partial(json_rows, files["corpus"]),
            queries=partial(json_rows, files["queries"]),
            qrels={
                split: partial(delimited_rows, path, "\t", quoting="none")
                for split, path in self._qrels().items()
            },
            name=str(self.folder),
            min_positive_grade=self.min_positive_grade,
            below_min_grade=self.below_min_grade,
            counts=counts,
        )
        return reader.located(progress)

    def _check_folder(self) -> None:
        if not self.folder.exists():
            raise DataError(f"{self.folder}: no such folder", code="RK301")
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder}: is a file; expected the folder that holds corpus.jsonl",
                code="RK302",
            )
        for name in ("corpus.jsonl", "queries.jsonl"):
            if not plain_or_gzipped(self.folder / name).exists():
                raise DataError(f"{self.folder}: there is no {name} and no {name}.gz", code="RK301")
        there = sorted(path.name for path in (self.folder / "qrels").glob("*.tsv*"))
        listed = f"there are {', '.join(there)}" if there else "there is none"
        if not self._qrels():
            raise DataError(
                f"{self.folder / 'qrels'}: no train.tsv, dev.tsv or test.tsv; {listed}. Name others under `splits`",
                code="RK301",
            )
        for path in self._qrels().values():
            if not path.exists():
                raise DataError(
                    f"{path}: no such file; {listed}.{did_you_mean(path.name, there)}", code="RK301"
                )


@dataclass
class BeirReader:
    """Reads the three parts of a BEIR data set, wherever their rows come from."""

    corpus: Rows
    queries: Rows
    qrels: Mapping[QrelsOf, Rows]
    name: str
    """What an error about the whole of it calls it."""
    min_positive_grade: float | Mapping[QrelsOf, float] | None = None
    """See `BeirSpec.min_positive_grade`, and `BeirSpec.below_min_grade`."""
    below_min_grade: Literal["negative", "unlabelled"] = "negative"
    counts: dict[str, int] = field(default_factory=dict)

    def located(self, progress: Progress) -> Iterator[tuple[RecordLocation, Record]]:
        """Passages, queries and labels, with their places.

        Raises:
            DataError: A row lacks a key or holds what is no text, id or number, or one of the parts
                is empty.
        """
        splits = self._splits()
        self.counts.update(queries_without_label=0)
        passages = queries = 0
        for place, row in self.corpus():
            passages += 1
            yield (
                place,
                Passage(
                    _id(row, "_id", place),
                    _text(row, "text", place),
                    _text(row, "title", place, optional=True),
                ),
            )
        for place, row in self.queries():
            queries += 1
            id, text = _id(row, "_id", place), _text(row, "text", place)
            if id not in splits:
                self.counts["queries_without_label"] += 1
            for split in splits.get(id, ()):
                yield (
                    place,
                    Query(
                        _in_split(id, split, splits[id]), text, None if split == "all" else split
                    ),
                )
        for part, n in (("passages", passages), ("queries", queries), ("labels", len(splits))):
            if n == 0:
                raise DataError(f"{self.name}: no {part}", code="RK306")
        for split, rows in self.qrels.items():
            least = (
                self.min_positive_grade.get(split)
                if isinstance(self.min_positive_grade, Mapping)
                else self.min_positive_grade
            )
            for place, row in rows():
                query, score = _id(row, "query-id", place), finite(row.get("score"), place, "score")
                grade = relevant(score, least)
                if grade > 0 or self.below_min_grade == "negative":
                    yield (
                        place,
                        Label(
                            _in_split(query, split, splits[query]),
                            _id(row, "corpus-id", place),
                            grade,
                        ),
                    )
        if left_out := self.counts["queries_without_label"]:
            progress.log("queries_without_label", source=self.name, queries=left_out)

    def _splits(self) -> dict[str, list[QrelsOf]]:
        """Per query id, the splits that list it, the one held out most first."""
        found: dict[str, list[QrelsOf]] = {}
        for split in sorted(self.qrels, key=("test", "dev", "train", "all").index):
            for place, row in self.qrels[split]():
                lists = found.setdefault(_id(row, "query-id", place), [])
                if split not in lists:
                    lists.append(split)
        return found


def _in_split(id: str, split: QrelsOf, splits: list[QrelsOf]) -> str:
    """A query's id.

    One that several splits list is a query in each until collect decides, so that their labels stay
    apart.
    """
    return id if split == splits[0] else f"{id}@{split}"


def _id(row: Mapping[str, Any], key: str, place: RecordLocation) -> str:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _unusable(row, key, place, "an id")
    return str(value)


def _text(
    row: Mapping[str, Any], key: str, place: RecordLocation, *, optional: bool = False
) -> str:
    """A text; null is an empty one."""
    value = row.get(key)
    if value is None and (optional or key in row):
        return ""
    if not isinstance(value, str):
        raise _unusable(row, key, place, "text")
    return value


def _unusable(row: Mapping[str, Any], key: str, place: RecordLocation, kind: str) -> DataError:
    if key not in row:
        there = f"there are: {', '.join(row)}"
        if len(row) == 1 and f"{key}," in (only := next(iter(row))):
            there = f"there is only '{only}': write its fields with tabs between them"
        return DataError(
            f"{place}: no '{key}', which the BEIR layout requires; {there}", code="RK305"
        )
    return DataError(f"{place}: '{key}' is {row[key]!r:.60}, which is not {kind}", code="RK304")
