"""What several readings of a pair add up to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recipekit.records import Verdict

__all__ = ["Decision", "Missing", "Read", "decide"]

Missing = Literal[
    "unparsed", "refused", "cut", "filtered", "too_long", "bad_request", "unanswered", "unpaid"
]
"""Why a reading has no grade."""


@dataclass(frozen=True)
class Read:
    """One reading of one pair."""

    grade: int | None = None
    missing: Missing | None = None
    confidence: float = math.nan
    reason: str | None = None


@dataclass(frozen=True)
class Decision:
    """The verdict on a pair."""

    verdict: Verdict
    """UNJUDGED where the budget left votes out that could still decide."""
    grade: float = math.nan
    confidence: float = math.nan
    reason: str | None = None
    missing: Missing | None = None
    """Why there is no grade, where there is none at all."""


def decide(readings: Sequence[Read], meaning: Mapping[int, Verdict], *, voted: bool) -> Decision:
    """The majority of the readings; a tie is an `ignore`, and so is a reading without a grade.

    Args:
        readings: One for each vote.
        meaning: Verdicts by grade.
        voted: Whether the share of the votes is the confidence, rather than the readings' own.
    """
    if (
        len(readings) == 1 and not voted and (only := readings[0]).grade is not None
    ):  # the usual case, by far the quickest
        return Decision(meaning[only.grade], only.grade, only.confidence, only.reason)
    unpaid = sum(read.missing == "unpaid" for read in readings)
    said = [
        Verdict.IGNORE if read.grade is None else meaning[read.grade]
        for read in readings
        if read.missing != "unpaid"
    ]
    ranked = Counter(said).most_common()
    most = ranked[0][1] if ranked else 0
    if unpaid and 2 * most <= len(readings):
        return Decision(Verdict.UNJUDGED, missing="unpaid")
    tied = len(ranked) > 1 and ranked[1][1] == most
    verdict = Verdict.IGNORE if tied else ranked[0][0]
    graded = [read for read in readings if read.grade is not None]
    if not graded:
        return Decision(
            verdict, missing=next(read.missing for read in readings if read.missing != "unpaid")
        )
    behind = [
        read for read in graded if read.grade is not None and meaning[read.grade] == verdict
    ] or graded
    grade = sum(read.grade for read in graded if read.grade is not None) / len(graded)
    known = [read.confidence for read in behind if not math.isnan(read.confidence)]
    confidence = (
        sum(word == verdict for word in said) / len(readings)
        if voted
        else sum(known) / len(known)
        if known
        else math.nan
    )
    return Decision(
        verdict, grade, confidence, next((read.reason for read in behind if read.reason), None)
    )
