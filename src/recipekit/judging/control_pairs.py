"""The pairs whose truth is known, which judges are asked about without being told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipekit.arrays import Bools, Floats, Ints, Rows, lookup_sorted
from recipekit.component import Progress
from recipekit.dataset import Dataset
from recipekit.judges.label_files import read_labels
from recipekit.judges.labels import LabelsSpec, known_labels
from recipekit.judging.policy import ControlPairPolicy
from recipekit.judging.verdict_state import Codes, VerdictState
from recipekit.records import Verdict
from recipekit.seeded_hashing import hash_uniforms, pair_hashes, row_hashes

__all__ = [
    "ControlPairs",
    "HumanLabels",
    "no_control_pairs",
    "pair_uniforms",
    "read_human_labels",
    "select_control_pairs",
]


@dataclass
class ControlPairs:
    """Pairs of known truth, and what the measured judges say of them: it joins no judgment, and
    conditions go by it alone.
    """

    rows: Rows
    """Their rows among all pairs, ascending, (m,)."""
    truth: Codes
    """What the label says, (m,)."""
    people: Bools
    """Which of them are people's sample, (m,); the others are the sources' labels."""
    weight: Floats
    """How many pairs each stands for, (m,): people's sample may have been drawn unevenly."""
    said: VerdictState
    """What the measured judges said, (m,); `own` has all of them."""
    elsewhere: int = 0
    """People's labels on pairs that are no candidates, which nobody is asked about."""

    def __len__(self) -> int:
        return len(self.rows)

    def heard(
        self,
        places: Rows,
        name: str,
        code: int,
        verdict: Codes,
        confidence: Floats,
        unanswered: Bools,
    ) -> None:
        """Take over what a judge says of some of these pairs; where it had no answer, the word of
        those before it stays.
        """
        if not len(places):
            return
        self.said.own[name][places] = verdict
        spoke = self.said.heeds(places, unanswered)
        self.said.note(places[spoke], name, code, verdict[spoke], confidence[spoke])

    def places(self, rows: Rows) -> tuple[Rows, Bools]:
        """Where some rows of all pairs stand here, and whether they do at all."""
        return lookup_sorted(self.rows, rows)


@dataclass(frozen=True)
class HumanLabels:
    """People's labels: `pair_keys`, ascending, verdicts, and how many pairs each stands for."""

    keys: Rows
    verdict: Codes
    weight: Floats


def no_control_pairs() -> ControlPairs:
    """Nothing is judged blind."""
    nothing = np.empty(0, dtype=np.int64)
    return ControlPairs(
        nothing,
        np.empty(0, np.int8),
        np.empty(0, np.bool_),
        np.empty(0, np.float32),
        VerdictState.nothing(0, ()),
    )


def read_human_labels(
    policy: ControlPairPolicy, dataset: Dataset, progress: Progress
) -> HumanLabels:
    """The sample that people labelled, empty where there is none.

    Raises:
        DataError: The file is missing, is not of its form, or speaks of other data.
    """
    if policy.human_labels is None:
        return HumanLabels(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.float32))
    file: Path = policy.human_labels
    known = known_labels(
        LabelsSpec(file=file, min_positive_grade=policy.min_positive_grade),
        read_labels(file),
        dataset,
        progress,
    )
    return HumanLabels(known.keys, known.verdict, known.weight)


def select_control_pairs(
    labelled: Rows,
    truth: Codes,
    people: Rows,
    sample: HumanLabels,
    elsewhere: int,
    measured: Collection[str],
) -> ControlPairs:
    """Join the sources' labels (rows among all pairs, with what they say) and people's; where a
    pair has both, people's word counts.
    """
    rows = np.union1d(labelled, people)
    joined, weight = (
        np.full(len(rows), Verdict.UNJUDGED, dtype=np.int8),
        np.ones(len(rows), dtype=np.float32),
    )
    joined[np.searchsorted(rows, labelled)] = truth
    joined[np.searchsorted(rows, people)] = sample.verdict
    weight[np.searchsorted(rows, people)] = sample.weight
    return ControlPairs(
        rows,
        joined,
        np.isin(rows, people),
        weight,
        VerdictState.nothing(len(rows), measured),
        elsewhere,
    )


def pair_uniforms(
    query: Ints, passage: Ints, dataset: Dataset, seed: int, stream: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A uniform number in [0, 1) for each pair, (m,), by its ids and the seed."""
    ids = dataset.queries.table["id"], dataset.passages.table["id"]
    return hash_uniforms(
        pair_hashes(row_hashes(ids[0], query, seed), row_hashes(ids[1], passage, seed)), stream
    )
