"""Labels of a file by rows of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Rows, pair_keys
from recipekit.component import Progress
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.human_labels import MAX_UNKNOWN_IDS
from recipekit.human_labels.label_file import LabelFile
from recipekit.records import Verdict

__all__ = ["DatasetLabels", "dataset_labels"]


@dataclass(frozen=True)
class DatasetLabels:
    """The labels of a file that are on pairs of the data set."""

    keys: Rows
    """`pair_keys`, ascending, (m,)."""
    verdict: npt.NDArray[np.int8]
    grade: Floats
    weight: Floats
    """How many pairs each pair represents, (m,): 1 unless it was sampled by strata."""
    listed_queries: Bools
    """The queries that the file lists, (n_queries,)."""


def dataset_labels(
    labels: LabelFile,
    dataset: Dataset,
    progress: Progress,
    *,
    min_positive_grade: float,
    ignored_grades: Sequence[float] = (),
    max_unknown_ids: float = MAX_UNKNOWN_IDS,
) -> DatasetLabels:
    """Map the ids of a label file to rows of the data set, and its grades to verdicts.

    Args:
        labels: The file's labels.
        dataset: The data set.
        progress: Receives warnings.
        min_positive_grade: Lowest grade of a positive, for pairs without a verdict.
        ignored_grades: Grades that are neither positive nor negative.
        max_unknown_ids: Largest share of labels with ids that are not in the data set.

    Raises:
        DataError: Too many of its ids are unknown, or a pair has two different labels.
    """
    if not len(labels):
        progress.warn(f"{labels.file}: no pair has a label yet")
    query, passage = (
        pc.fill_null(pc.index_in(ids, value_set=table.table["id"].combine_chunks()), -1).to_numpy()
        for ids, table in (
            (labels.query_id, dataset.queries),
            (labels.passage_id, dataset.passages),
        )
    )
    known = (query >= 0) & (passage >= 0)
    _report_unknown_ids(labels, known, max_unknown_ids, progress)

    positive = labels.grade >= min_positive_grade
    ignored = np.isin(labels.grade, np.array(ignored_grades, dtype=np.float32))
    by_grade = np.where(positive, Verdict.POSITIVE, Verdict.NEGATIVE)
    by_grade[ignored] = Verdict.IGNORE
    verdict = np.where(labels.verdict != Verdict.UNJUDGED, labels.verdict, by_grade)
    keys = pair_keys(query, passage, len(dataset.passages))
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(keys[rows], kind="stable")]
    keys, verdict = keys[rows], verdict[rows].astype(np.int8)
    contradicting = (keys[1:] == keys[:-1]) & (verdict[1:] != verdict[:-1])
    if contradicting.any():
        pair = _describe_pair(labels, int(rows[np.argmax(contradicting)]))
        raise DataError(f"{labels.file}: {pair} has two different labels", code="RK336")
    listed_queries = np.zeros(len(dataset.queries), dtype=np.bool_)
    listed_queries[query[rows]] = True
    return DatasetLabels(keys, verdict, labels.grade[rows], labels.weight[rows], listed_queries)


def _report_unknown_ids(
    labels: LabelFile, known: Bools, max_unknown_ids: float, progress: Progress
) -> None:
    """Warn about labels with unknown ids: a spreadsheet, for example, turns the id 0012 into 12."""
    unknown = int((~known).sum())
    if unknown:
        problem = f"{labels.file}: {unknown} of {len(labels)} labels have unknown ids"
        first = _describe_pair(labels, int(np.argmin(known)))
        if unknown > max_unknown_ids * len(labels):
            raise DataError(f"{problem}, the first: {first}; is this the right file?", code="RK335")
        progress.warn(f"{problem} and are skipped, the first: {first}")
    progress.log("judge.labels", labels=len(labels), unknown_ids=unknown)


def _describe_pair(labels: LabelFile, row: int) -> str:
    return f"query '{labels.query_id[row]}', passage '{labels.passage_id[row]}'"
