"""The verdicts so far, in memory, and the conditions of a judge that depend on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Bools, Floats, Rows
from recipekit.component import JudgeSpec
from recipekit.records import Verdict

__all__ = [
    "NO_JUDGE",
    "SOURCE",
    "Codes",
    "VerdictState",
    "decidable_spec",
    "depends_on_verdicts",
]

Codes = npt.NDArray[np.int8]
"""`Verdict` codes."""

SOURCE = 0
"""The judge code of source labels; the recipe's judges are 1, 2, ... in their order."""
NO_JUDGE = -1
"""The judge code of a pair without a verdict."""


@dataclass
class VerdictState:
    """The last verdict on each of n pairs, as parallel arrays of 7 bytes per pair."""

    verdict: Codes
    """`Verdict.UNJUDGED` where no judge gave one, (n,)."""
    judge: npt.NDArray[np.int16]
    """Who gave the verdict: `SOURCE`, a judge's code, or `NO_JUDGE`, (n,)."""
    confidence: Floats
    """NaN where the judge gave none, (n,)."""
    by_judge: dict[str, Codes]
    """All verdicts of some judges, even where a later judge replaced them, (n,) each."""

    @classmethod
    def empty(cls, n: int, remember: Collection[str] = ()) -> Self:
        """The state before any verdict; `remember` names the judges kept in `by_judge`."""
        unjudged = np.full(n, Verdict.UNJUDGED, dtype=np.int8)
        return cls(
            verdict=unjudged,
            judge=np.full(n, NO_JUDGE, dtype=np.int16),
            confidence=np.full(n, np.nan, dtype=np.float32),
            by_judge={name: unjudged.copy() for name in remember},
        )

    def record(
        self,
        rows: Rows,
        name: str,
        code: int,
        verdict: Codes,
        confidence: Floats,
        ungraded: Bools,
    ) -> Bools:
        """Replace the verdicts of some rows, and return which rows were replaced, (len(rows),).

        An ungraded pair keeps the verdict that an earlier judge gave.
        """
        if name in self.by_judge:
            self.by_judge[name][rows] = verdict
        replaced: Bools = ~ungraded | (self.verdict[rows] == Verdict.UNJUDGED)
        self.verdict[rows[replaced]] = verdict[replaced]
        self.judge[rows[replaced]] = code
        self.confidence[rows[replaced]] = confidence[replaced]
        return replaced

    def matches(self, spec: JudgeSpec) -> Bools:
        """The pairs that meet a judge's conditions on earlier verdicts, (n,).

        These are `previous_verdicts`, `below_confidence` and `disagreeing_with`.
        """
        matches: Bools = np.ones(len(self.verdict), dtype=np.bool_)
        if spec.previous_verdicts is not None:
            codes = [Verdict[name.upper()] for name in spec.previous_verdicts]
            matches &= np.isin(self.verdict, codes)
        if spec.below_confidence is not None:
            # Written as "not at least" so that NaN, no confidence, matches.
            unsure = ~(self.confidence >= spec.below_confidence)
            matches &= (self.judge > SOURCE) & unsure
        if spec.disagreeing_with is not None:
            other = self.by_judge[spec.disagreeing_with]
            both = (other != Verdict.UNJUDGED) & (self.verdict != Verdict.UNJUDGED)
            matches &= both & (other != self.verdict)
        return matches


def decidable_spec(spec: JudgeSpec, measured_before: Collection[str]) -> JudgeSpec:
    """A judge with only those conditions that can be decided for control pairs.

    Only measured judges get control pairs. A condition on the verdict of any other judge (a margin
    filter, a label file) is dropped, as if it were met.
    """
    undecidable = []
    if not measured_before:
        undecidable = ["previous_verdicts", "below_confidence", "disagreeing_with"]
    elif spec.disagreeing_with not in measured_before:
        undecidable = ["disagreeing_with"]
    return spec.model_copy(update=dict.fromkeys(undecidable))


def depends_on_verdicts(spec: JudgeSpec) -> bool:
    """Whether earlier verdicts decide which pairs a judge gets."""
    return decidable_spec(spec, ()) != spec
