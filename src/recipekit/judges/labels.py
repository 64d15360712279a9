"""Verdicts from a file: what people labelled, or, in a study, what a judge of a known quality would
say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from recipekit.arrays import Bools, Floats, Rows, lookup_sorted, pair_keys
from recipekit.component import Context, Judge, JudgeSpec, LocalPath, PairBatch, Progress, Verdicts
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.judges.label_files import LabelFile, read_labels
from recipekit.records import Verdict
from recipekit.seeded_hashing import Hashes, hash_uniforms, id_hashes, pair_hashes

__all__ = ["Known", "LabelsJudge", "LabelsSpec", "known_labels"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Codes = npt.NDArray[np.int8]


class LabelsSpec(JudgeSpec):
    """Verdicts from a qrels or judgments file: people's labels, or an upper bound in studies.

    `coverage` and `noise` make an imperfect judge of a perfect file. Which pairs they hit is
    decided by the recipe's seed and the pair's ids alone, so that it is the same whatever else is
    judged, and in which order.
    """

    file: LocalPath
    """Qrels (BEIR's or TREC's, by tabs or blanks), or `.csv`, `.jsonl`, `.parquet` or `.arrow` with
    the columns `query_id`, `passage_id` and `verdict` (positive, negative, ignore) or `grade`; text
    also as `.gz`."""
    min_positive_grade: float = 1.0
    """The least grade that is a positive, where there is no verdict; lower ones are negatives."""
    ignore: tuple[float, ...] = ()
    """Grades that are neither, such as the 1 of a scale from 0 to 3."""
    missing: Literal["unjudged", "negative"] = "unjudged"
    """What a pair is that the file does not hold, of a query that it does.

    Unjudged by default: few files are complete.
    """
    max_unknown: Share = 0.5
    """Largest share of the file's lines with ids that the data set has not; a larger one is taken
    for the wrong file.
    """
    coverage: Share = 1.0
    """Share of the pairs that the judge is allowed to know."""
    noise: Share = 0.0
    """Share of the known verdicts that are turned round, positive to negative and back."""

    def build(self, context: Context) -> Judge:
        """Read the file and map its ids to rows."""
        known = known_labels(self, read_labels(self.file), context.dataset, context.progress)
        return LabelsJudge(self, context.dataset, known, context.seed)

    def files(self) -> Mapping[str, Path]:
        """The label file."""
        return {"file": self.file}


@dataclass(frozen=True)
class Known:
    """What the file says of pairs of the data set.

    `pair_keys`, ascending, with verdicts, grades and weights, and the queries it holds.
    """

    keys: Rows
    verdict: Codes
    grade: Floats
    weight: Floats
    """How many pairs each stands for, (n,): 1, but in a sample that was drawn by strata."""
    queries: Any
    """bool (n_queries,)."""


class LabelsJudge(Judge):
    """See `Labels`."""

    def __init__(self, spec: LabelsSpec, dataset: Dataset, known: Known, seed: int) -> None:
        self.spec = spec
        self.known = known
        self.n_passages = len(dataset.passages)
        self._hashes: tuple[Hashes, Hashes] | None = None
        if spec.coverage < 1 or spec.noise > 0:
            self._hashes = (
                id_hashes(dataset.queries.ids, seed),
                id_hashes(dataset.passages.ids, seed),
            )

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream the file's verdicts on the wanted pairs that it holds, with its grades."""
        for batch in batches:
            rows = np.flatnonzero(batch.wanted)
            query, passage = batch.query[rows], batch.passage[rows]
            verdict, grade = self._look_up(query, passage)
            if self._hashes is not None:
                self._spoil(query, passage, verdict, grade)
            said = np.flatnonzero(verdict != Verdict.UNJUDGED)
            if len(said):
                yield Verdicts(query[said], passage[said], verdict[said], grade=grade[said])

    def _look_up(self, query: npt.NDArray[Any], passage: npt.NDArray[Any]) -> tuple[Codes, Floats]:
        verdict = np.full(len(query), Verdict.UNJUDGED, dtype=np.int8)
        grade = np.full(len(query), np.nan, dtype=np.float32)
        if self.spec.missing == "negative":
            verdict[self.known.queries[query]] = Verdict.NEGATIVE
        at, held = lookup_sorted(self.known.keys, pair_keys(query, passage, self.n_passages))
        verdict[held], grade[held] = self.known.verdict[at[held]], self.known.grade[at[held]]
        return verdict, grade

    def _spoil(
        self, query: npt.NDArray[Any], passage: npt.NDArray[Any], verdict: Codes, grade: Floats
    ) -> None:
        """Forget what is not covered, and turn round what is noisy, in place."""
        assert self._hashes is not None
        pair = pair_hashes(self._hashes[0][query], self._hashes[1][passage])
        unknown = hash_uniforms(pair, 1) >= self.spec.coverage
        turned = (hash_uniforms(pair, 2) < self.spec.noise) & np.isin(
            verdict, [Verdict.POSITIVE, Verdict.NEGATIVE]
        )
        verdict[turned] = np.where(
            verdict[turned] == Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.POSITIVE
        )
        grade[turned] = np.nan  # the grade would give the truth away
        verdict[unknown] = Verdict.UNJUDGED


def known_labels(
    spec: LabelsSpec, labels: LabelFile, dataset: Dataset, progress: Progress
) -> Known:
    """What a label file says of a data set, its ids mapped to rows.

    Raises:
        DataError: Most of its ids are unknown, or a pair is labelled twice, and differently.
    """
    if not len(labels):
        progress.warn(f"{spec.file}: no pair is labelled in it yet")
    query, passage = (
        pc.fill_null(pc.index_in(ids, value_set=table.table["id"].combine_chunks()), -1).to_numpy()
        for ids, table in (
            (labels.query_id, dataset.queries),
            (labels.passage_id, dataset.passages),
        )
    )
    there = (query >= 0) & (passage >= 0)
    _tell_unknown(spec, labels, there, progress)

    verdict = np.where(
        labels.grade >= spec.min_positive_grade, Verdict.POSITIVE, Verdict.NEGATIVE
    ).astype(np.int8)
    verdict[np.isin(labels.grade, np.array(spec.ignore, dtype=np.float32))] = Verdict.IGNORE
    verdict = np.where(labels.verdict != Verdict.UNJUDGED, labels.verdict, verdict)[there]
    keys = pair_keys(query[there], passage[there], len(dataset.passages))
    order = np.argsort(keys, kind="stable")
    keys, verdict, grade, weight = (
        keys[order],
        verdict[order],
        labels.grade[there][order],
        labels.weight[there][order],
    )
    again = np.flatnonzero(keys[1:] == keys[:-1])
    differs = again[verdict[again] != verdict[again + 1]]
    if len(differs):
        row = int(np.flatnonzero(there)[order[differs[0]]])
        raise DataError(
            f"{spec.file}: {_pair(labels, row)} is labelled twice, and differently", code="RK336"
        )
    queries = np.zeros(len(dataset.queries), dtype=np.bool_)
    queries[query[there]] = True
    return Known(keys, verdict, grade, weight, queries)


def _tell_unknown(spec: LabelsSpec, labels: LabelFile, there: Bools, progress: Progress) -> None:
    """Say how many labels have ids that the data set has not, where there are any: a spreadsheet
    turns the id 0012 into 12.
    """
    unknown = int((~there).sum())
    if unknown:
        told = f"{spec.file}: {unknown} of {len(labels)} labels have unknown ids"
        pair = _pair(labels, int(np.argmin(there)))
        if unknown > spec.max_unknown * len(labels):
            advice = "is this the file of these data? (max_unknown allows more)"
            raise DataError(f"{told}, the first: {pair}; {advice}", code="RK335")
        progress.warn(f"{told} and are left out, the first: {pair}")
    progress.log("judge.labels", labels=len(labels), unknown_ids=unknown)


def _pair(labels: LabelFile, row: int) -> str:
    return f"query '{labels.query_id[row]}', passage '{labels.passage_id[row]}'"
