"""Control pairs: pairs of known truth that measured judges get unmarked, among the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recipekit.arrays import Bools, Floats, Rows, lookup_sorted
from recipekit.component import Progress
from recipekit.dataset import Dataset
from recipekit.human_labels import weights_file
from recipekit.human_labels.dataset_labels import dataset_labels
from recipekit.human_labels.label_file import read_labels
from recipekit.judging.policy import ControlPairPolicy
from recipekit.judging.verdicts import Codes, VerdictState
from recipekit.records import Verdict

__all__ = ["ControlPairs", "HumanLabels", "read_human_labels"]


@dataclass(frozen=True)
class HumanLabels:
    """Pairs that people labelled, by ascending `pair_keys`."""

    keys: Rows
    """`pair_keys`, ascending, (h,)."""
    verdict: Codes
    """The label of each pair, (h,)."""
    weight: Floats
    """How many candidates each pair represents, (h,)."""


@dataclass
class ControlPairs:
    """The control pairs and the measured judges' verdicts on them.

    These verdicts are kept apart from the candidates' verdicts: they never become judgments, and
    the conditions of later judges on a control pair depend on them alone.
    """

    rows: Rows
    """Rows of `CandidatePairs`, ascending, (m,)."""
    truth: Codes
    """What the label says, (m,)."""
    human: Bools
    """Which pairs have a human label, (m,); the others have a source label."""
    weight: Floats
    """How many candidates each pair represents, (m,): 1 for source labels."""
    verdicts: VerdictState
    """Verdicts of the measured judges, (m,); `by_judge` has all of them."""
    not_candidates: int = 0
    """Human labels on pairs that are not candidates, which no judge gets."""

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def none(cls) -> ControlPairs:
        """No control pairs."""
        no_rows = np.empty(0, dtype=np.int64)
        return cls.join(no_rows, no_rows.astype(np.int8), no_rows, _NO_LABELS, ())

    @classmethod
    def join(
        cls,
        source_rows: Rows,
        source_truth: Codes,
        human_rows: Rows,
        human: HumanLabels,
        measured: tuple[str, ...] | list[str],
    ) -> ControlPairs:
        """Join source labels and human labels; a pair that has both counts as human-labelled.

        Args:
            source_rows: Rows of pairs with a source label.
            source_truth: Their labels.
            human_rows: Rows of the pairs in `human`.
            human: The human labels of these rows.
            measured: Names of the measured judges.
        """
        rows = np.union1d(source_rows, human_rows).astype(np.int64)
        truth = np.full(len(rows), Verdict.UNJUDGED, dtype=np.int8)
        truth[np.searchsorted(rows, source_rows)] = source_truth
        at_human = np.searchsorted(rows, human_rows)
        truth[at_human] = human.verdict
        weight = np.ones(len(rows), dtype=np.float32)
        weight[at_human] = human.weight
        is_human = np.zeros(len(rows), dtype=np.bool_)
        is_human[at_human] = True
        return cls(rows, truth, is_human, weight, VerdictState.empty(len(rows), measured))

    def find(self, rows: Rows) -> tuple[Rows, Bools]:
        """The position of each of some rows among the control pairs, and whether it has one."""
        return lookup_sorted(self.rows, rows)


_NO_LABELS = HumanLabels(np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.float32))


def read_human_labels(
    policy: ControlPairPolicy, dataset: Dataset, progress: Progress
) -> HumanLabels:
    """Read the pairs that people labelled; none where the recipe names no file.

    A file without the weights that `recipekit judge sample` writes next to it is read with a
    warning, and all of its pairs count equally.

    Raises:
        DataError: The file is missing or malformed, or its ids are not those of the data set.
    """
    if policy.human_labels is None:
        return _NO_LABELS
    labels = dataset_labels(
        read_labels(policy.human_labels),
        dataset,
        progress,
        min_positive_grade=policy.min_positive_grade,
    )
    weights = weights_file(policy.human_labels)
    if not weights.is_file():
        progress.warn(
            f"{weights}: no such file, so all pairs in {policy.human_labels.name} count equally; "
            "`recipekit judge sample` writes both files"
        )
    return HumanLabels(labels.keys, labels.verdict, labels.weight)
