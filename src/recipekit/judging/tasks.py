"""Which pairs a judge gets: by rank, by earlier verdicts, and at most so many."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Bools, Rows
from recipekit.component import JudgeSpec
from recipekit.dataset import Dataset
from recipekit.judging.candidate_pairs import CandidatePairs, JudgeTask
from recipekit.judging.verdicts import decidable_spec
from recipekit.seeded_hashing import hash_uniforms, pair_hashes, row_hashes

__all__ = ["MAX_PAIRS_STREAM", "PairUniforms", "select_task"]

MAX_PAIRS_STREAM = 0x73616D706C65
"""Separates the random numbers of `max_pairs` from others with the same seed."""


@dataclass(frozen=True)
class PairUniforms:
    """Random numbers that depend only on a pair's ids, the seed and the stream."""

    pairs: CandidatePairs
    dataset: Dataset
    seed: int
    stream: int

    def __call__(self, rows: Rows) -> npt.NDArray[np.float64]:
        """A uniform number in [0, 1) for each of some rows, (len(rows),)."""
        query_ids, passage_ids = self.dataset.queries.table["id"], self.dataset.passages.table["id"]
        queries = row_hashes(query_ids, self.pairs.query[rows], self.seed)
        passages = row_hashes(passage_ids, self.pairs.passage[rows], self.seed)
        return hash_uniforms(pair_hashes(queries, passages), self.stream)


def select_task(
    pairs: CandidatePairs,
    spec: JudgeSpec,
    *,
    rejudge_source_labels: bool,
    measured_before: Collection[str],
    uniforms: Callable[[Rows], npt.NDArray[np.float64]],
    control_share: float,
) -> JudgeTask:
    """Select the pairs that a judge gets, given the verdicts of the judges before it.

    Args:
        pairs: All pairs, with the verdicts so far.
        spec: The judge.
        rejudge_source_labels: Whether judges can overrule source positives.
        measured_before: The measured judges before it.
        uniforms: Random numbers for the sample of `max_pairs`.
        control_share: The largest share of `max_pairs` for control pairs with source labels.
    """
    in_range = pairs.in_rank_range(spec)
    wanted = in_range & pairs.verdicts.matches(spec)
    if not rejudge_source_labels:
        wanted &= ~pairs.source_positive
    rows = pairs.control_pairs.rows
    if type(spec).measured:
        # For a pair with a source label, the conditions depend on the verdicts it got as a control
        # pair. Any other control pair is selected as if it were none.
        decidable = decidable_spec(spec, measured_before)
        as_control = in_range[rows] & pairs.control_pairs.verdicts.matches(decidable)
        control = np.where(pairs.labelled[rows], as_control, wanted[rows])
    else:
        control = np.zeros(len(rows), dtype=np.bool_)
    if spec.max_pairs is not None:
        wanted, control = _limited(
            pairs, wanted, control, spec.max_pairs, int(control_share * spec.max_pairs), uniforms
        )
    open_pairs = wanted.copy()
    open_pairs[rows[control]] = True
    return JudgeTask(wanted, control, open_pairs)


def _limited(
    pairs: CandidatePairs,
    wanted: Bools,
    control: Bools,
    max_pairs: int,
    max_source_controls: int,
    uniforms: Callable[[Rows], npt.NDArray[np.float64]],
) -> tuple[Bools, Bools]:
    """At most `max_pairs` of the wanted pairs and control pairs together.

    Human-labelled pairs come first, then control pairs with source labels, then the others.
    """
    rows, human = pairs.control_pairs.rows, pairs.control_pairs.human
    human_rows = _lowest(rows[control & human], max_pairs, uniforms)
    max_source_controls = min(max_source_controls, max_pairs - len(human_rows))
    source_rows = _lowest(rows[control & ~human], max_source_controls, uniforms)
    first = np.union1d(human_rows, source_rows)
    others = np.setdiff1d(np.flatnonzero(wanted), first, assume_unique=True)
    selected = np.zeros(len(wanted), dtype=np.bool_)
    selected[first] = True
    selected[_lowest(others, max_pairs - len(first), uniforms)] = True
    return wanted & selected, control & selected[rows]


def _lowest(rows: Rows, count: int, uniforms: Callable[[Rows], npt.NDArray[np.float64]]) -> Rows:
    """The `count` rows with the lowest random numbers, in any order."""
    if len(rows) <= count:
        return rows
    if count <= 0:
        return rows[:0]
    return rows[np.argpartition(uniforms(rows), count)[:count]]
