"""The verdict on a pair from the readings of its votes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recipekit.records import Verdict

__all__ = ["Decision", "Missing", "Reading", "decide"]

Missing = Literal[
    "unparsed", "refused", "cut", "filtered", "too_long", "bad_request", "unanswered", "unpaid"
]
"""Why a reading has no grade."""


@dataclass(frozen=True)
class Reading:
    """What one reply says of one passage."""

    grade: int | None = None
    missing: Missing | None = None
    confidence: float = math.nan
    reason: str | None = None


@dataclass(frozen=True)
class Decision:
    """The verdict on a pair."""

    verdict: Verdict
    """UNJUDGED if votes that could still decide are not paid for."""
    grade: float = math.nan
    confidence: float = math.nan
    reason: str | None = None
    missing: Missing | None = None
    """Why no reading has a grade; None if one has."""


def decide(
    readings: Sequence[Reading], grade_verdicts: Mapping[int, Verdict], *, voted: bool
) -> Decision:
    """The majority of the votes. A tie is an `ignore`, and so is a vote without a grade.

    Args:
        readings: One for each vote.
        grade_verdicts: Verdicts by grade.
        voted: Whether the confidence is the share of the votes rather than the readings' own.
    """
    if len(readings) == 1 and not voted and (grade := readings[0].grade) is not None:
        only = readings[0]  # by far the most frequent case
        return Decision(grade_verdicts[grade], grade, only.confidence, only.reason)
    paid = [reading for reading in readings if reading.missing != "unpaid"]
    verdicts = [_verdict(reading, grade_verdicts) for reading in paid]
    ranked = Counter(verdicts).most_common()
    highest = ranked[0][1] if ranked else 0
    if len(paid) < len(readings) and 2 * highest <= len(readings):
        return Decision(Verdict.UNJUDGED, missing="unpaid")
    tied = len(ranked) > 1 and ranked[1][1] == highest
    verdict = Verdict.IGNORE if tied else ranked[0][0]
    grades = [reading.grade for reading in paid if reading.grade is not None]
    if not grades:
        return Decision(verdict, missing=paid[0].missing)
    graded = [reading for reading in paid if reading.grade is not None]
    supporting = [one for one in graded if _verdict(one, grade_verdicts) == verdict] or graded
    confidences = [one.confidence for one in supporting if not math.isnan(one.confidence)]
    confidence = math.nan
    if voted:
        confidence = verdicts.count(verdict) / len(readings)
    elif confidences:
        confidence = sum(confidences) / len(confidences)
    reason = next((one.reason for one in supporting if one.reason), None)
    return Decision(verdict, sum(grades) / len(grades), confidence, reason)


def _verdict(reading: Reading, grade_verdicts: Mapping[int, Verdict]) -> Verdict:
    return Verdict.IGNORE if reading.grade is None else grade_verdicts[reading.grade]
