"""The readings of one query's pairs, the verdict that their votes give, and what is counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from recipekit.component import Verdicts
from recipekit.judges.llm_judge.counts import add_counts
from recipekit.judges.llm_judge.groups import Group
from recipekit.judges.llm_judge.texts import QueryTexts
from recipekit.llm.completion import Reply, RequestFailed, Usage
from recipekit.records import Verdict

__all__ = ["Decision", "Missing", "QueryResult", "Reading", "decide", "verdicts_of"]

GradeVerdicts = Mapping[int, Verdict]

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


@dataclass(repr=False)  # asyncio's runner takes the `repr` of its last result, which is not free
class QueryResult:
    """What the calls of one query yield."""

    texts: QueryTexts
    votes: int
    grade_verdicts: GradeVerdicts
    counts: dict[str, Any] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    """One for each passage, after `decide`."""
    _readings: dict[tuple[int, int], Reading] = field(default_factory=dict)
    """By vote and passage index."""

    def count(self, **counts: Any) -> None:
        """Add to the counts."""
        add_counts(self.counts, counts)

    def count_answer(self, answer: Reply | RequestFailed) -> None:
        """Count a reply or a failure, and its tokens and cost."""
        if isinstance(answer, RequestFailed):
            self.count(failures={answer.kind: 1})
        else:
            self.count(replies=1, models={answer.model: 1})
        usage: Usage = answer.usage
        tokens = {
            "in": usage.prompt,
            "cached": usage.cached,
            "out": usage.completion,
            "reasoning": usage.reasoning,
        }
        self.count(tokens=tokens, usd=answer.cost_usd or 0.0)

    def add_readings(self, group: Group, readings: Sequence[Reading]) -> None:
        """Take over the readings of one call, in prompt order.

        A canary passes unless its verdict is negative: it answers nothing, and a judge that ignores
        it did not notice.
        """
        for item, reading in zip(group.items, readings, strict=True):
            if item.index is not None:
                self._readings[group.vote, item.index] = reading
            elif item.canary is not None and reading.grade is not None:
                passed = self.grade_verdicts[reading.grade] != Verdict.NEGATIVE
                self.count(canaries={item.canary: {"seen": 1, "passed": int(passed)}})
        self._count_positions(group, readings)

    def decide(self) -> None:
        """Decide every pair, and count the decisions."""
        verdicts: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        confidences: list[float] = []
        for index in range(len(self.texts.passages)):
            # A call with fewer orders than votes has fewer readings (see `GroupPlan`).
            keys = [(vote, index) for vote in range(self.votes)]
            readings = [self._readings[key] for key in keys if key in self._readings]
            decision = decide(readings, self.grade_verdicts, voted=self.votes > 1)
            self.decisions.append(decision)
            verdicts[decision.verdict.name.lower()] += 1
            if decision.missing:
                missing[decision.missing] += 1
            if not math.isnan(decision.confidence):
                confidences.append(decision.confidence)
            self._count_repeat(readings[0], self._readings.get((self.votes, index)))
        cut = sum(passage.cut for passage in self.texts.passages)
        self.count(
            pairs=len(self.decisions),
            verdicts=verdicts,
            cut={"passages": cut, "queries": int(self.texts.query.cut)},
        )
        if missing:
            self.count(missing=missing)
        if confidences:
            self.count(confidence={"sum": sum(confidences), "pairs": len(confidences)})

    def _count_positions(self, group: Group, readings: Sequence[Reading]) -> None:
        has_canary = any(item.canary for item in group.items)
        if group.vote >= self.votes or has_canary or len(readings) < 2:
            return
        grades = [reading.grade for reading in readings if reading.grade is not None]
        if len(grades) < len(readings):
            return
        positive = [int(self.grade_verdicts[grade] == Verdict.POSITIVE) for grade in grades]
        n, total = len(positive), sum(positive)
        size = {"calls": 1, "positive": positive, "spread": total * (n - total)}
        self.count(positions={str(n): size})

    def _count_repeat(self, first: Reading, repeated: Reading | None) -> None:
        if repeated is None or repeated.grade is None or first.grade is None:
            return
        same = self.grade_verdicts[first.grade] == self.grade_verdicts[repeated.grade]
        self.count(repeat={"pairs": 1, "same": int(same)})


def verdicts_of(results: Sequence[QueryResult]) -> Verdicts | None:
    """The verdicts on several queries without unjudged pairs; None if nothing is left."""
    rows = [
        (result.texts.row, passage, decision)
        for result in results
        for passage, decision in zip(result.texts.passage_rows, result.decisions, strict=True)
        if decision.verdict != Verdict.UNJUDGED
    ]
    if not rows:
        return None
    decisions = [decision for _, _, decision in rows]
    reasons = [decision.reason for decision in decisions]
    return Verdicts(
        np.array([query for query, _, _ in rows], dtype=np.int32),
        np.array([passage for _, passage, _ in rows], dtype=np.int32),
        np.array([decision.verdict for decision in decisions], dtype=np.int8),
        grade=np.array([decision.grade for decision in decisions], dtype=np.float32),
        confidence=np.array([decision.confidence for decision in decisions], dtype=np.float32),
        reason=reasons if any(reasons) else None,
        ungraded=np.array([decision.missing is not None for decision in decisions], np.bool_),
    )


# Votes
# ---------------------------------------------------------------------------------------------


def decide(readings: Sequence[Reading], grade_verdicts: GradeVerdicts, *, voted: bool) -> Decision:
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


def _verdict(reading: Reading, grade_verdicts: GradeVerdicts) -> Verdict:
    return Verdict.IGNORE if reading.grade is None else grade_verdicts[reading.grade]
