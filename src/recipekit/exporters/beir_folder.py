"""Write BEIR's layout (github.com/beir-cellar/beir): JSON lines and tab-separated qrels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.records import SPLITS, Verdict
from recipekit.tables import TextTable

__all__ = ["Ids", "write_qrels", "write_texts"]

LINES_PER_WRITE = 1 << 16
TAB = pa.scalar("\t", pa.large_string())
SLASH = pa.scalar("/", pa.large_string())


@dataclass(frozen=True)
class Ids:
    """Unique ids of one side, by row."""

    array: pa.Array

    @classmethod
    def of(cls, texts: TextTable) -> Ids:
        """The sources' own ids, or `source/id` for all if two sources share an id."""
        ids = texts.table["id"].combine_chunks()
        if pc.count_distinct(ids).as_py() < len(ids):
            ids = pc.binary_join_element_wise(texts.table["source"].combine_chunks(), ids, SLASH)
        return cls(ids)

    def take(self, rows: npt.NDArray[Any]) -> pa.Array:
        """The ids of some rows."""
        return self.array.take(pa.array(rows))


def write_texts(file: Path, texts: TextTable, ids: Ids) -> int:
    """Write `{"_id", "title", "text"}` lines and return their number; queries have no title."""
    has_title = "title" in texts.table.column_names
    with file.open("w", encoding="utf-8") as out:
        for start in range(0, len(texts), LINES_PER_WRITE):
            rows = np.arange(start, min(start + LINES_PER_WRITE, len(texts)))
            columns = {"_id": ids.take(rows).to_pylist()}
            columns |= {
                name: texts.column(name, rows)
                for name in (("title", "text") if has_title else ("text",))
            }
            values = zip(*columns.values(), strict=True)
            out.writelines(
                json.dumps(dict(zip(columns, line, strict=True)), ensure_ascii=False) + "\n"
                for line in values
            )
    return len(texts)


def write_qrels(
    file: Path, split: str, dataset: Dataset, judgments: pa.Table, queries: Ids, passages: Ids
) -> int:
    """Write a split's qrels and return the number of lines.

    Dev and test qrels are the source labels. In the train qrels, verdicts replace source labels: a
    positive that a judge found has score 1, since the grades of judges have scales of their own.
    Other verdicts are only in `judgments.parquet`.

    Raises:
        DataError: An id has a tab or a line break, which qrels cannot hold.
    """
    query, passage, score = (
        _train_qrels(dataset, judgments) if split == "train" else _columns(dataset.labels)
    )
    chosen = np.flatnonzero(
        (dataset.queries.table["split"].to_numpy() == SPLITS.index(split))[query]
    )
    chosen = chosen[np.lexsort((passage[chosen], query[chosen]))]
    with file.open("w", encoding="utf-8") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        for start in range(0, len(chosen), LINES_PER_WRITE):
            rows = chosen[start : start + LINES_PER_WRITE]
            columns = [
                queries.take(query[rows]),
                passages.take(passage[rows]),
                _scores(score[rows]),
            ]
            _refuse_breaks(columns[:2])
            out.writelines(
                line + "\n" for line in pc.binary_join_element_wise(*columns, TAB).to_pylist()
            )
    return len(chosen)


def _columns(table: pa.Table) -> list[npt.NDArray[Any]]:
    return [table[name].to_numpy() for name in ("query", "passage", "grade")]


def _train_qrels(dataset: Dataset, judgments: pa.Table) -> list[npt.NDArray[Any]]:
    """Queries, passages and scores from the judgments; from the labels for unmined queries."""
    parts = [_scored(batch) for batch in judgments.to_batches(LINES_PER_WRITE)]
    mined = np.zeros(len(dataset.queries), dtype=np.bool_)
    mined[judgments["query"].to_numpy()] = True
    parts.append(
        _columns(dataset.labels.filter(pa.array(~mined[dataset.labels["query"].to_numpy()])))
    )
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _scored(judgments: pa.RecordBatch) -> list[npt.NDArray[Any]]:
    is_source = pc.equal(judgments["judge"].cast(pa.string()), "source")
    score = pc.if_else(is_source, judgments["grade"], pa.scalar(1.0, pa.float32()))
    kept = pc.or_(is_source, pc.equal(judgments["verdict"], int(Verdict.POSITIVE)))
    columns = (judgments["query"], judgments["passage"], score)
    return [column.filter(kept).to_numpy(zero_copy_only=False) for column in columns]


def _scores(score: npt.NDArray[Any]) -> pa.Array:
    """Scores as text: `2` for 2.0, since tools read qrels as integers, but `0.5` for 0.5."""
    whole = score == np.round(score)
    return pc.if_else(
        pa.array(whole),
        pa.array(np.round(score).astype(np.int64)).cast(pa.large_string()),
        pa.array(score).cast(pa.large_string()),
    )


def _refuse_breaks(columns: list[pa.Array]) -> None:
    for ids in columns:
        broken = ids.filter(pc.match_substring_regex(ids, "[\t\r\n]"))
        if len(broken):
            raise DataError(
                f"the id {broken[0].as_py()!r} has a tab or a line break, which qrels cannot hold",
                code="RK340",
            )
