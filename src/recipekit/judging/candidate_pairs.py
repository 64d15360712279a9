"""The pairs that are judged, in arrays sorted by (query, passage) of about 35 bytes per pair.

`judgments.arrow` has the same order, so it is written in one pass. A judge gets the pairs of a
query in the order of the candidates, best first, and can return verdicts in any order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import (
    Bools,
    Floats,
    Ints,
    Rows,
    lookup_sorted,
    pair_keys,
    positions_in_groups,
)
from recipekit.component import JudgeSpec, PairBatch, Verdicts
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError
from recipekit.judging.control_pairs import ControlPairs
from recipekit.judging.verdicts import SOURCE, Codes, VerdictState
from recipekit.records import Verdict

__all__ = ["RANK_BANDS", "CandidatePairs", "JudgeTask", "load_pairs", "rank_bands"]

PAIRS_PER_BATCH = 4096

RANK_BANDS: Final = {"1-10": 1, "11-50": 11, "51-100": 51, "101-": 101}
"""Bands of ranks among the candidates: name and first rank."""


def rank_bands(rank: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The number of each rank's band in `RANK_BANDS`; -1 for rank 0, not a candidate."""
    band: npt.NDArray[np.int64] = np.digitize(rank, list(RANK_BANDS.values())) - 1
    return band


@dataclass(frozen=True)
class JudgeTask:
    """The pairs that one judge gets, decided before it starts."""

    wanted: Bools
    """Pairs whose verdict counts, (n,)."""
    control: Bools
    """Control pairs that the judge gets, (m,)."""
    open: Bools
    """Pairs of either sort without a verdict of this judge yet, (n,)."""


@dataclass
class CandidatePairs:
    """All candidates of the mined queries, and all source labels of the mined splits."""

    keys: Rows
    """`pair_keys`, ascending, (n,)."""
    query: Ints
    passage: Ints
    rank: Ints
    """Rank among the query's candidates, from 1; 0 for a labelled pair that is not a candidate."""
    retrieved: Bools
    """Whether a retriever found the pair.

    A source positive that none found is the last of its query's candidates.
    """
    source_positive: Bools
    labelled: Bools
    """Whether the pair has a source label, positive or negative."""
    verdicts: VerdictState
    grade: Floats
    n_passages: int
    control_pairs: ControlPairs = field(default_factory=ControlPairs.none)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, query: npt.NDArray[Any], passage: npt.NDArray[Any]) -> tuple[Rows, Bools]:
        """The row of each of some pairs, and whether it has one."""
        return lookup_sorted(self.keys, pair_keys(query, passage, self.n_passages))

    def in_rank_range(self, spec: JudgeSpec) -> Bools:
        """The candidates that a judge's `max_rank` and `ranks_below_positive` admit, (n,)."""
        admitted: Bools = self.rank > 0
        if spec.max_rank is not None:
            admitted &= self.rank <= spec.max_rank
        if spec.ranks_below_positive is not None and len(self):
            positive = np.flatnonzero(self.source_positive & (self.rank > 0))
            no_positive = np.iinfo(np.int32).max
            best = np.full(int(self.query[-1]) + 1, no_positive, dtype=np.int64)
            np.minimum.at(best, self.query[positive], self.rank[positive])
            last = np.where(best < no_positive, best + spec.ranks_below_positive, 0)
            admitted &= self.rank <= last[self.query]
        return admitted

    def in_rank_range_of_any(self, specs: Iterable[JudgeSpec]) -> Bools:
        """The candidates that `in_rank_range` admits for at least one of some judges, (n,)."""
        admitted = np.zeros(len(self), dtype=np.bool_)
        for spec in specs:
            admitted |= self.in_rank_range(spec)
        return admitted

    def standing_positives(self) -> Bools:
        """The source positives that no judge has overruled, (n,)."""
        standing: Bools = self.source_positive & (self.verdicts.verdict == Verdict.POSITIVE)
        return standing

    def previous_verdicts(self, spec: JudgeSpec, task: JudgeTask) -> Codes:
        """The verdicts that a judge is shown as those of the judges before it, (n,).

        Of a control pair with a source label it is shown the earlier judges' verdict, never the
        label. If no earlier judge got the pair although `previous_verdicts` requires a verdict, it
        is shown as the first of these, so that it does not stand out among the others.
        """
        shown = self.verdicts.verdict.copy()
        control = np.flatnonzero(task.control)
        rows = self.control_pairs.rows[control]
        hidden = ~task.wanted[rows] | (self.verdicts.judge[rows] == SOURCE)
        verdict = self.control_pairs.verdicts.verdict[control[hidden]]
        if spec.previous_verdicts and "unjudged" not in spec.previous_verdicts:
            verdict[verdict == Verdict.UNJUDGED] = Verdict[spec.previous_verdicts[0].upper()]
        shown[rows[hidden]] = verdict
        return shown

    def batches(
        self, wanted: Bools, source_positive: Bools, previous_verdict: Codes
    ) -> Iterator[PairBatch]:
        """All candidates of the queries with a wanted pair, whole queries together, best first."""
        query_starts = np.flatnonzero(np.diff(self.query, prepend=-1))
        start = 0
        while start < len(self):
            following = np.searchsorted(query_starts, start + PAIRS_PER_BATCH)
            end = int(query_starts[following]) if following < len(query_starts) else len(self)
            rows = start + np.flatnonzero(self.rank[start:end])
            rows = rows[np.isin(self.query[rows], self.query[rows[wanted[rows]]])]
            rows = rows[np.lexsort((self.rank[rows], self.query[rows]))]
            if len(rows):
                yield PairBatch(
                    query=self.query[rows],
                    passage=self.passage[rows],
                    source_positive=source_positive[rows],
                    previous_verdict=previous_verdict[rows],
                    wanted=wanted[rows],
                )
            start = end

    def apply(self, name: str, code: int, verdicts: Verdicts, task: JudgeTask) -> int:
        """Record a judge's verdicts, close their pairs in `task.open`, and return their number.

        Raises:
            ComponentError: The judge `name` gave a verdict on a pair that it did not get, two on
                one pair, or an unknown code.
        """
        rows, found = self.find(np.asarray(verdicts.query), np.asarray(verdicts.passage))
        verdict = np.asarray(verdicts.verdict)
        _check_contract(name, rows, verdict, valid=bool(found.all() and task.open[rows].all()))
        n = len(rows)
        grade = _filled(verdicts.grade, n, np.nan)
        confidence = _filled(verdicts.confidence, n, np.nan)
        ungraded = _filled(verdicts.ungraded, n, False)

        wanted = np.flatnonzero(task.wanted[rows])
        replaced = self.verdicts.record(
            rows[wanted], name, code, verdict[wanted], confidence[wanted], ungraded[wanted]
        )
        self.grade[rows[wanted[replaced]]] = grade[wanted[replaced]]

        position, is_control = self.control_pairs.find(rows)
        is_control[is_control] = task.control[position[is_control]]
        self.control_pairs.verdicts.record(
            position[is_control],
            name,
            code,
            verdict[is_control],
            confidence[is_control],
            ungraded[is_control],
        )
        task.open[rows] = False
        return n


def _filled(values: Any, n: int, default: float | bool) -> npt.NDArray[Any]:
    """Optional values as an array (n,)."""
    return np.full(n, default) if values is None else np.asarray(values)


def _check_contract(name: str, rows: Rows, verdict: Codes, *, valid: bool) -> None:
    in_order = np.sort(rows)
    if not valid or (in_order[1:] == in_order[:-1]).any():
        raise ComponentError(
            f"judge '{name}' gave a verdict on a pair that it did not get, or two on one pair",
            code="RK231",
        )
    if not np.isin(verdict, [Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE]).all():
        raise ComponentError(
            f"judge '{name}' gave a verdict that is not 0 (negative), 1 (positive) or 2 (ignore)",
            code="RK232",
        )


def load_pairs(
    dataset: Dataset, candidates: pa.Table, remember: Collection[str] = ()
) -> CandidatePairs:
    """Load the candidates (`CANDIDATES`) and the source labels of their splits.

    Args:
        dataset: The collected data.
        candidates: The candidates of all mined queries, or of some.
        remember: Judges whose verdicts are kept even where a later judge replaces them.
    """
    n_passages = len(dataset.passages)
    query, passage = candidates["query"].to_numpy(), candidates["passage"].to_numpy()
    labels = _labels_of_mined_splits(dataset, query)
    grades = labels["grade"].to_numpy()
    label_keys = pair_keys(labels["query"].to_numpy(), labels["passage"].to_numpy(), n_passages)
    candidate_keys = pair_keys(query, passage, n_passages)
    keys = np.sort(np.concatenate([candidate_keys, label_keys]))
    keys = keys[np.diff(keys, prepend=-1) > 0]
    n = len(keys)
    pairs = CandidatePairs(
        keys=keys,
        query=(keys // n_passages).astype(np.int32),
        passage=(keys % n_passages).astype(np.int32),
        rank=np.zeros(n, dtype=np.int32),
        retrieved=np.zeros(n, dtype=np.bool_),
        source_positive=np.zeros(n, dtype=np.bool_),
        labelled=np.zeros(n, dtype=np.bool_),
        verdicts=VerdictState.empty(n, remember),
        grade=np.full(n, np.nan, dtype=np.float32),
        n_passages=n_passages,
    )
    rows = np.searchsorted(keys, candidate_keys)
    pairs.rank[rows] = positions_in_groups(query) + 1
    pairs.retrieved[rows] = candidates["score"].is_valid().to_numpy()
    rows = np.searchsorted(keys, label_keys)
    pairs.source_positive[rows] = grades > 0
    pairs.labelled[rows] = True
    pairs.verdicts.verdict[rows] = np.where(grades > 0, Verdict.POSITIVE, Verdict.NEGATIVE)
    pairs.verdicts.judge[rows] = SOURCE
    pairs.grade[rows] = grades
    return pairs


def _labels_of_mined_splits(dataset: Dataset, mined_queries: Ints) -> pa.Table:
    splits = dataset.queries.table["split"].to_numpy()
    in_mined_split = np.isin(splits, np.unique(splits[np.unique(mined_queries)]))
    return dataset.labels.filter(pa.array(in_mined_split[dataset.labels["query"].to_numpy()]))
