"""Labels of a file by rows of the data set, and the `labels` judge, which looks them up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Ints, Rows, lookup_sorted, pair_keys
from recipekit.component import Judge, PairBatch, Progress, Verdicts
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.judges.label_files import LabelFile
from recipekit.judges.labels import LabelsSpec
from recipekit.records import Verdict
from recipekit.seeded_hashing import hash_uniforms, id_hashes, pair_hashes

__all__ = ["DatasetLabels", "LabelLookup", "dataset_labels"]

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class DatasetLabels:
    """The labels of a file that are on pairs of the data set."""

    keys: Rows
    """`pair_keys`, ascending, (m,)."""
    verdict: Codes
    grade: Floats
    weight: Floats
    """How many pairs each pair represents, (m,): 1 unless it was sampled by strata."""
    listed_queries: Bools
    """The queries that the file lists, (n_queries,)."""


class LabelLookup(Judge):
    """What `LabelsSpec` builds."""

    def __init__(
        self, spec: LabelsSpec, dataset: Dataset, labels: DatasetLabels, seed: int
    ) -> None:
        self.spec = spec
        self.labels = labels
        self.n_passages = len(dataset.passages)
        self.perfect = spec.coverage == 1 and spec.error_rate == 0
        if not self.perfect:
            self._query_hashes = id_hashes(dataset.queries.ids, seed)
            self._passage_hashes = id_hashes(dataset.passages.ids, seed)

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream the file's verdicts and grades on the wanted pairs that it lists."""
        for batch in batches:
            query, passage = batch.query[batch.wanted], batch.passage[batch.wanted]
            verdict = np.full(len(query), Verdict.UNJUDGED, dtype=np.int8)
            grade = np.full(len(query), np.nan, dtype=np.float32)
            if self.spec.unlisted_pairs == "negative":
                verdict[self.labels.listed_queries[query]] = Verdict.NEGATIVE
            keys = pair_keys(query, passage, self.n_passages)
            at, listed = lookup_sorted(self.labels.keys, keys)
            verdict[listed] = self.labels.verdict[at[listed]]
            grade[listed] = self.labels.grade[at[listed]]
            if not self.perfect:
                self._degrade(query, passage, verdict, grade)
            judged = verdict != Verdict.UNJUDGED
            if judged.any():
                yield Verdicts(query[judged], passage[judged], verdict[judged], grade[judged])

    def _degrade(self, query: Ints, passage: Ints, verdict: Codes, grade: Floats) -> None:
        """Apply `coverage` and `error_rate` in place."""
        pair = pair_hashes(self._query_hashes[query], self._passage_hashes[passage])
        unknown = hash_uniforms(pair, 1) >= self.spec.coverage
        wrong = hash_uniforms(pair, 2) < self.spec.error_rate
        wrong &= np.isin(verdict, [Verdict.POSITIVE, Verdict.NEGATIVE])
        verdict[wrong] = 1 - verdict[wrong]
        grade[wrong] = np.nan  # the grade would reveal the right verdict
        verdict[unknown] = Verdict.UNJUDGED


def dataset_labels(
    spec: LabelsSpec, labels: LabelFile, dataset: Dataset, progress: Progress
) -> DatasetLabels:
    """Map the ids of a label file to rows of the data set, and its grades to verdicts.

    Raises:
        DataError: Too many of its ids are unknown, or a pair has two different labels.
    """
    if not len(labels):
        progress.warn(f"{spec.file}: no pair has a label yet")
    query, passage = (
        pc.fill_null(pc.index_in(ids, value_set=table.table["id"].combine_chunks()), -1).to_numpy()
        for ids, table in (
            (labels.query_id, dataset.queries),
            (labels.passage_id, dataset.passages),
        )
    )
    known = (query >= 0) & (passage >= 0)
    _report_unknown_ids(spec, labels, known, progress)

    positive = labels.grade >= spec.min_positive_grade
    ignored = np.isin(labels.grade, np.array(spec.ignored_grades, dtype=np.float32))
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
        raise DataError(f"{spec.file}: {pair} has two different labels", code="RK336")
    listed_queries = np.zeros(len(dataset.queries), dtype=np.bool_)
    listed_queries[query[rows]] = True
    return DatasetLabels(keys, verdict, labels.grade[rows], labels.weight[rows], listed_queries)


def _report_unknown_ids(
    spec: LabelsSpec, labels: LabelFile, known: Bools, progress: Progress
) -> None:
    """Warn about labels with unknown ids: a spreadsheet, for example, turns the id 0012 into 12."""
    unknown = int((~known).sum())
    if unknown:
        problem = f"{spec.file}: {unknown} of {len(labels)} labels have unknown ids"
        first = _describe_pair(labels, int(np.argmin(known)))
        if unknown > spec.max_unknown_ids * len(labels):
            advice = "is this the right file? (max_unknown_ids allows more)"
            raise DataError(f"{problem}, the first: {first}; {advice}", code="RK335")
        progress.warn(f"{problem} and are skipped, the first: {first}")
    progress.log("judge.labels", labels=len(labels), unknown_ids=unknown)


def _describe_pair(labels: LabelFile, row: int) -> str:
    return f"query '{labels.query_id[row]}', passage '{labels.passage_id[row]}'"
