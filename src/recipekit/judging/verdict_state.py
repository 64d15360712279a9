"""What judges said of pairs, and which pairs a later judge is to hear about because of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Bools, Floats, Rows
from recipekit.component import JudgeSpec
from recipekit.records import Verdict

__all__ = ["NO_JUDGE", "SOURCE", "Codes", "VerdictState", "conditional", "decidable"]

Codes = npt.NDArray[np.int8]
"""`Verdict` codes."""

SOURCE = 0
"""The judge's code of what the sources gave; the recipe's judges are 1, 2, ... in their order."""
NO_JUDGE = -1
"""The judge's code where nobody spoke."""


@dataclass
class VerdictState:
    """The last word on each of some pairs, as parallel arrays (n,): 7 bytes a pair, and one for
    each judge in `own`.
    """

    verdict: Codes
    """`Verdict.UNJUDGED` where nobody spoke."""
    judge: npt.NDArray[np.int16]
    """Who spoke: `SOURCE`, a judge's code, or `NO_JUDGE`."""
    confidence: Floats
    """NaN where none was told."""
    own: dict[str, Codes] = field(default_factory=dict)
    """Each judge's own verdicts, whoever spoke after it, for the judges that are to be remembered.
    """

    @classmethod
    def nothing(cls, n: int, remembered: Collection[str]) -> Self:
        """Nobody has spoken yet of `n` pairs."""
        unjudged = np.full(n, Verdict.UNJUDGED, dtype=np.int8)
        own = {name: unjudged.copy() for name in remembered}
        return cls(
            unjudged,
            np.full(n, NO_JUDGE, dtype=np.int16),
            np.full(n, np.nan, dtype=np.float32),
            own,
        )

    def note(
        self, rows: Rows, name: str, code: int, verdict: Codes, confidence: Floats | None
    ) -> None:
        """Take over what a judge says of some rows."""
        self.verdict[rows] = verdict
        self.judge[rows] = code
        self.confidence[rows] = np.nan if confidence is None else confidence
        if name in self.own:
            self.own[name][rows] = verdict

    def heeds(self, rows: Rows, unanswered: Bools) -> Bools:
        """Of which rows a judge's word counts: of those on which it had no answer, only where
        nobody spoke before.
        """
        heeded: Bools = ~unanswered | (self.verdict[rows] == Verdict.UNJUDGED)
        return heeded

    def meets(self, spec: JudgeSpec) -> Bools:
        """Of which pairs what was said meets a judge's conditions on it.

        `previous_verdicts`, `below_confidence`, `disagreeing_with`.
        """
        met: Bools = np.ones(len(self.verdict), dtype=np.bool_)
        if spec.previous_verdicts is not None:
            met &= np.isin(self.verdict, [Verdict[word.upper()] for word in spec.previous_verdicts])
        if spec.below_confidence is not None:
            met &= (self.judge > SOURCE) & ~(
                self.confidence >= spec.below_confidence
            )  # NaN is not at least anything
        if spec.disagreeing_with is not None:
            other = self.own[spec.disagreeing_with]
            met &= (
                (other != Verdict.UNJUDGED)
                & (self.verdict != Verdict.UNJUDGED)
                & (other != self.verdict)
            )
        return met


def decidable(spec: JudgeSpec, heard: Collection[str]) -> JudgeSpec:
    """A judge with those of its conditions that can be decided for pairs that only the judges
    `heard` were asked about.

    A labelled pair has no verdict of a margin filter or a label file. What depends on one is taken
    as met: the judge is asked.
    """
    dropped: dict[str, None] = {}
    if not heard:
        dropped = {"previous_verdicts": None, "below_confidence": None, "disagreeing_with": None}
    elif spec.disagreeing_with not in heard:
        dropped = {"disagreeing_with": None}
    return spec.model_copy(update=dropped)


def conditional(spec: JudgeSpec) -> bool:
    """Whether what judges before it said decides what a judge is asked."""
    return decidable(spec, ()) != spec
