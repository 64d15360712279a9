"""The pairs that are judged, and what was said of each: arrays sorted by (query, passage), about 35
bytes a pair.

The order of the arrays is the order of `judgments.arrow`, so that it is written in one pass; a
judge sees the pairs of a query in the order of the candidates, best first, and may answer in any
order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from recipekit.judging.control_pairs import ControlPairs, no_control_pairs
from recipekit.judging.verdict_state import SOURCE, Codes, VerdictState, decidable
from recipekit.records import Verdict
from recipekit.tables import JUDGMENTS

__all__ = ["CandidatePairs", "JudgeTask", "load_pairs"]

PAIRS_PER_BATCH = 4096
ROWS_PER_WRITE = 1 << 16


@dataclass(frozen=True)
class JudgeTask:
    """What one judge is asked, decided before it speaks."""

    wanted: Bools
    """Pairs whose verdict it is to give, (n,)."""
    blind: Bools
    """Which of the blind pairs it is asked about, (m,)."""
    left: Bools
    """Pairs of either sort that it has not spoken of yet, (n,)."""


@dataclass
class CandidatePairs:
    """Every candidate, and every given label of the mined queries."""

    keys: Rows
    """`pair_keys`, ascending."""
    query: Ints
    passage: Ints
    rank: Ints
    """Place among the query's candidates, from 1; 0 for a label on a passage that is no candidate.
    """
    retrieved: Bools
    """Whether a retriever found it: source positives that none found stand last among the
    candidates.
    """
    given: Bools
    """Whether the source calls it a positive."""
    labelled: Bools
    """Whether the source calls it anything."""
    said: VerdictState
    grade: Floats
    n_passages: int
    blind: ControlPairs = field(default_factory=no_control_pairs)

    def __len__(self) -> int:
        return len(self.keys)

    def ask(
        self,
        spec: JudgeSpec,
        *,
        rejudge_source_labels: bool,
        heard: Collection[str],
        draws: Callable[[Rows], npt.NDArray[Any]],
        share: float,
    ) -> JudgeTask:
        """Which pairs a judge is asked about, now that those before it have spoken.

        Args:
            spec: The judge.
            rejudge_source_labels: Whether it may overrule the sources' positives.
            heard: The measured judges before it, who were asked about blind pairs.
            draws: Uniform numbers for rows of pairs, for `sample`.
            share: Of a `sample`, the most that goes on blind pairs with a source's label.
        """
        reach = self.reach(spec)
        wanted = reach & self.said.meets(spec)
        if not rejudge_source_labels:
            wanted &= ~self.given
        # Of a label, the conditions go by what was said blind; a pair without one is asked about as
        # it would be without the sample.
        rows = self.blind.rows
        blind = np.where(
            self.labelled[rows],
            reach[rows] & self.blind.said.meets(decidable(spec, heard)),
            wanted[rows],
        )
        if not type(spec).measured:
            blind[:] = False
        if spec.max_pairs is not None:
            _thin(wanted, blind, self.blind, spec.max_pairs, share, draws)
        left = wanted.copy()
        left[self.blind.rows[blind]] = True
        return JudgeTask(wanted, blind, left)

    def reach(self, spec: JudgeSpec) -> Bools:
        """The candidates that a judge's `max_rank` and `ranks_below_positive` admit."""
        reach: Bools = self.rank > 0
        if spec.max_rank is not None:
            reach &= self.rank <= spec.max_rank
        if spec.ranks_below_positive is not None and len(self):
            positive = np.flatnonzero(self.given & (self.rank > 0))
            far = np.iinfo(np.int32).max
            best = np.full(int(self.query[-1]) + 1, far, dtype=np.int64)
            np.minimum.at(best, self.query[positive], self.rank[positive])
            near = np.where(best < far, best + spec.ranks_below_positive, 0)
            reach &= self.rank <= near[self.query]
        return reach

    def reached(self, specs: Iterable[JudgeSpec]) -> Bools:
        """The candidates that at least one of some judges looks at, (n,)."""
        reached = np.zeros(len(self), dtype=np.bool_)
        for spec in specs:
            reached |= self.reach(spec)
        return reached

    def before(self, spec: JudgeSpec, asked: JudgeTask) -> Codes:
        """The verdicts that a judge is shown as those before it. Of a pair judged blind it is not
        shown the label.

        A blind pair that nobody has spoken of, though the judge's `previous_verdicts` asks for a
        verdict, is shown as if it had the first of these: it is to stand among the others.
        """
        before = self.said.verdict.copy()
        blind = np.flatnonzero(asked.blind)
        rows = self.blind.rows[blind]
        hidden = ~asked.wanted[rows] | (self.said.judge[rows] == SOURCE)
        verdict = self.blind.said.verdict[blind[hidden]]
        if spec.previous_verdicts and "unjudged" not in spec.previous_verdicts:
            verdict[verdict == Verdict.UNJUDGED] = Verdict[spec.previous_verdicts[0].upper()]
        before[rows[hidden]] = verdict
        return before

    def standing(self) -> Bools:
        """The source's positives that no judge has overruled, (n,)."""
        standing: Bools = self.given & (self.said.verdict == Verdict.POSITIVE)
        return standing

    def batches(
        self, wanted: Bools, given: Bools, before: npt.NDArray[np.int8]
    ) -> Iterator[PairBatch]:
        """The candidates of every query that has a wanted one, whole queries together, each query's
        best first.
        """
        starts = np.flatnonzero(np.diff(self.query, prepend=-1))
        start = 0
        while start < len(self):
            found = np.searchsorted(starts, start + PAIRS_PER_BATCH)
            end = int(starts[found]) if found < len(starts) else len(self)
            rows = start + np.flatnonzero(self.rank[start:end])
            rows = rows[np.isin(self.query[rows], self.query[rows[wanted[rows]]])]
            rows = rows[np.lexsort((self.rank[rows], self.query[rows]))]
            if len(rows):
                yield PairBatch(
                    self.query[rows], self.passage[rows], given[rows], before[rows], wanted[rows]
                )
            start = end

    def apply(self, name: str, code: int, said: Verdicts, asked: JudgeTask) -> int:
        """Take verdicts over, and unmark their pairs in `asked.left`. Returns how many there were.

        Raises:
            ComponentError: The judge `name` spoke of a pair that it was not asked about, or twice
                of one, or in no known word.
        """
        rows, found = self.positions(np.asarray(said.query), np.asarray(said.passage))
        verdict = np.asarray(said.verdict)
        in_order = np.sort(rows)
        if not (found.all() and asked.left[rows].all()) or (in_order[1:] == in_order[:-1]).any():
            raise ComponentError(
                f"judge '{name}' gave a verdict on a pair that it was not asked about, or two on one pair",
                code="RK231",
            )
        if not np.isin(verdict, [Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE]).all():
            raise ComponentError(
                f"judge '{name}' gave a verdict that is none of 0 (negative), 1 (positive), 2 (ignore)",
                code="RK232",
            )
        confidence = (
            np.full(len(rows), np.nan, np.float32)
            if said.confidence is None
            else np.asarray(said.confidence)
        )
        heard = asked.wanted[rows]
        unanswered = (
            np.zeros(len(rows), dtype=np.bool_)
            if said.ungraded is None
            else np.asarray(said.ungraded)
        )
        heard &= self.said.heeds(rows, unanswered)
        self.said.note(rows[heard], name, code, verdict[heard], confidence[heard])
        self.grade[rows[heard]] = np.nan if said.grade is None else np.asarray(said.grade)[heard]
        places, is_blind = self.blind.places(rows)
        is_blind[is_blind] = asked.blind[places[is_blind]]
        self.blind.heard(
            places[is_blind],
            name,
            code,
            verdict[is_blind],
            confidence[is_blind],
            unanswered[is_blind],
        )
        asked.left[rows] = False
        return len(rows)

    def positions(self, query: npt.NDArray[Any], passage: npt.NDArray[Any]) -> tuple[Rows, Bools]:
        """Where pairs stand in these arrays, and whether they do at all."""
        return self.positions_of(pair_keys(query, passage, self.n_passages))

    def positions_of(self, keys: Rows) -> tuple[Rows, Bools]:
        """Where `pair_keys` stand in these arrays, and whether they do at all."""
        return lookup_sorted(self.keys, keys)

    def judgments(
        self, names: Sequence[str], journals: Sequence[Iterable[pa.RecordBatch]]
    ) -> Iterator[pa.RecordBatch]:
        """All verdicts as `JUDGMENTS`, in order.

        `names` by judge's code, `journals` of the judges 1, 2, ...
        """
        reasons = _Reasons(self, journals)
        dictionary = pa.array(names, pa.string())
        for start in range(0, len(self), ROWS_PER_WRITE):
            rows = start + np.flatnonzero(
                self.said.verdict[start : start + ROWS_PER_WRITE] != Verdict.UNJUDGED
            )
            columns = [
                pa.array(self.query[rows]),
                pa.array(self.passage[rows]),
                pa.array(self.said.verdict[rows]),
                pa.array(self.grade[rows], from_pandas=True),  # NaN becomes null
                pa.array(self.said.confidence[rows], from_pandas=True),
                reasons.of(rows),
                pa.DictionaryArray.from_arrays(pa.array(self.said.judge[rows]), dictionary),
            ]
            yield pa.record_batch(columns, schema=JUDGMENTS)


class _Reasons:
    """Where each pair's reason stands in the memory-mapped journals: found once, fetched a slice at
    a time.
    """

    def __init__(self, pairs: CandidatePairs, journals: Sequence[Iterable[pa.RecordBatch]]) -> None:
        self.columns: list[pa.Array] = []
        self.column_of: Ints | None = None
        self.row_of: Ints | None = None
        for code, journal in enumerate(journals, start=1):
            for batch in journal:
                if batch["reason"].null_count == len(batch):
                    continue
                if self.column_of is None or self.row_of is None:
                    self.column_of = np.full(len(pairs), -1, dtype=np.int32)
                    self.row_of = np.zeros(len(pairs), dtype=np.int32)
                rows, _ = pairs.positions(batch["query"].to_numpy(), batch["passage"].to_numpy())
                stands = (
                    pairs.said.judge[rows] == code
                )  # a later judge may have replaced it, and its reason with it
                self.column_of[rows[stands]] = len(self.columns)
                self.row_of[rows[stands]] = np.flatnonzero(stands)
                self.columns.append(batch["reason"])

    def of(self, rows: Rows) -> pa.Array:
        if self.column_of is None or self.row_of is None:
            return pa.nulls(len(rows), pa.large_string())
        which, where = self.column_of[rows], self.row_of[rows]
        taken: list[pa.Array] = [pa.nulls(1, pa.large_string())]
        place = np.zeros(len(rows), dtype=np.int64)
        ahead = 1
        for column in np.unique(which[which >= 0]):
            here = np.flatnonzero(which == column)
            taken.append(self.columns[column].take(pa.array(where[here])))
            place[here] = ahead + np.arange(len(here))
            ahead += len(here)
        return pa.concat_arrays(taken).take(pa.array(place))


def load_pairs(
    dataset: Dataset, candidates: pa.Table, remembered: Collection[str] = ()
) -> CandidatePairs:
    """The candidates (`CANDIDATES`) and the labels of all queries of the mined splits, with the
    sources' word on each.

    Args:
        dataset: The collected data.
        candidates: Of all mined queries, or of some.
        remembered: The judges whose own verdicts a later one is compared with.
    """
    n_passages = len(dataset.passages)
    query, passage = candidates["query"].to_numpy(), candidates["passage"].to_numpy()
    labels = _labels_of_mined(dataset, query)
    grades = labels["grade"].to_numpy()
    label_keys = pair_keys(labels["query"].to_numpy(), labels["passage"].to_numpy(), n_passages)
    candidate_keys = pair_keys(query, passage, n_passages)
    keys = np.sort(np.concatenate([candidate_keys, label_keys]))
    keys = keys[np.diff(keys, prepend=-1) > 0]
    pairs = CandidatePairs(
        keys=keys,
        query=(keys // n_passages).astype(np.int32),
        passage=(keys % n_passages).astype(np.int32),
        rank=np.zeros(len(keys), dtype=np.int32),
        retrieved=np.zeros(len(keys), dtype=np.bool_),
        given=np.zeros(len(keys), dtype=np.bool_),
        labelled=np.zeros(len(keys), dtype=np.bool_),
        said=VerdictState.nothing(len(keys), remembered),
        grade=np.full(len(keys), np.nan, dtype=np.float32),
        n_passages=n_passages,
    )
    at = np.searchsorted(keys, candidate_keys)
    pairs.rank[at] = positions_in_groups(query) + 1
    pairs.retrieved[at] = candidates["score"].is_valid().to_numpy()
    at = np.searchsorted(keys, label_keys)
    pairs.given[at] = grades > 0
    pairs.labelled[at] = True
    pairs.said.verdict[at] = np.where(grades > 0, Verdict.POSITIVE, Verdict.NEGATIVE)
    pairs.said.judge[at] = SOURCE
    pairs.grade[at] = grades
    return pairs


def _thin(
    wanted: Bools,
    blind: Bools,
    pairs: ControlPairs,
    most: int,
    share: float,
    draws: Callable[[Rows], npt.NDArray[Any]],
) -> None:
    """Leave `most` pairs of both sorts together, in place: people's sample, then known labels up to
    `share`, then by lowest draw.
    """
    people = _lowest(pairs.rows[blind & pairs.people], most, draws)
    known = _lowest(
        pairs.rows[blind & ~pairs.people], min(int(share * most), most - len(people)), draws
    )
    kept = np.union1d(people, known)
    others = np.setdiff1d(np.flatnonzero(wanted), kept, assume_unique=True)
    ordinary = _lowest(others, most - len(kept), draws)
    blind &= np.isin(pairs.rows, np.union1d(kept, ordinary))
    still = wanted[kept]
    wanted[:] = False
    wanted[kept], wanted[ordinary] = still, True


def _lowest(rows: Rows, count: int, draws: Callable[[Rows], npt.NDArray[Any]]) -> Rows:
    """The `count` rows with the lowest draws, ascending."""
    if len(rows) <= count:
        return rows
    return np.sort(rows[np.argpartition(draws(rows), count)[:count]]) if count > 0 else rows[:0]


def _labels_of_mined(dataset: Dataset, mined: npt.NDArray[Any]) -> pa.Table:
    splits = dataset.queries.table["split"].to_numpy()
    chosen = np.isin(splits, np.unique(splits[np.unique(mined)]))
    return dataset.labels.filter(pa.array(chosen[dataset.labels["query"].to_numpy()]))
