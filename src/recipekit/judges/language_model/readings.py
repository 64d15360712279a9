"""A query while it is judged: the readings of its pairs as they come, and what is counted of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recipekit.component import Verdicts
from recipekit.judges.language_model.grouping import QueryTexts
from recipekit.judges.language_model.requests import Attempt
from recipekit.judges.language_model.tally import added
from recipekit.judges.language_model.votes import Decision, Read, decide
from recipekit.llm.calls import Failure, Reply
from recipekit.records import Verdict

__all__ = ["Meaning", "Readings", "verdicts_on"]

Meaning = Mapping[int, Verdict]


@dataclass(eq=False)
class Readings:
    """Of one query."""

    texts: QueryTexts
    votes: int
    waiting: int = 0
    """Calls whose outcome is to come."""
    read: dict[tuple[int, int], Read] = field(default_factory=dict)
    """By vote and the passage's place."""
    counted: dict[str, Any] = field(default_factory=dict)

    def count(self, **numbers: Any) -> None:
        """Add to what is counted."""
        added(self.counted, numbers)

    def heard(self, answer: Reply | Failure) -> None:
        """Count what came back, whatever it is worth."""
        usage = answer.usage
        if isinstance(answer, Failure):
            self.count(failures={answer.kind: 1})
        else:
            self.count(replies=1, models={answer.model: 1})
        tokens = {
            "in": usage.prompt,
            "cached": usage.cached,
            "out": usage.completion,
            "reasoning": usage.reasoning,
        }
        self.count(tokens=tokens, usd=answer.cost_usd or 0.0)

    def note(self, attempt: Attempt, reads: Sequence[Read], meaning: Meaning) -> None:
        """Take over the final readings of one call, in the order in which its passages were shown.

        A planted passage passes where its grade is no `negative`: it answers nothing, and whoever
        ignores it has not seen that.
        """
        group = attempt.group
        for item, read in zip(group.items, reads, strict=True):
            if item.place is not None:
                self.read[group.vote, item.place] = read
            elif item.canary is not None and read.grade is not None:
                self.count(
                    canaries={
                        item.canary: {
                            "seen": 1,
                            "passed": int(meaning[read.grade] != Verdict.NEGATIVE),
                        }
                    }
                )
        planted = any(item.canary for item in group.items)
        if (
            group.vote < self.votes
            and not planted
            and len(reads) > 1
            and all(read.grade is not None for read in reads)
        ):
            positive = [
                int(read.grade is not None and meaning[read.grade] == Verdict.POSITIVE)
                for read in reads
            ]
            n, some = len(positive), sum(positive)
            self.count(
                positions={str(n): {"calls": 1, "positive": positive, "spread": some * (n - some)}}
            )
        self.waiting -= 1

    def decided(self, meaning: Meaning, *, voted: bool) -> list[Decision]:
        """The verdict on every passage, and everything about them counted."""
        decisions = []
        verdicts: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        known: list[float] = []
        for place in range(len(self.texts.passages)):
            # A call with fewer orders than votes has fewer readings: see `Plan`.
            readings = [
                self.read[vote, place] for vote in range(self.votes) if (vote, place) in self.read
            ]
            decision = decide(readings, meaning, voted=voted)
            decisions.append(decision)
            verdicts[decision.verdict.name.lower()] += 1
            if decision.missing:
                missing[decision.missing] += 1
            if not math.isnan(decision.confidence):
                known.append(decision.confidence)
            again = self.read.get((self.votes, place))
            if (
                again is not None
                and again.grade is not None
                and (first := readings[0].grade) is not None
            ):
                self.count(repeat={"pairs": 1, "same": int(meaning[first] == meaning[again.grade])})
        self.count(pairs=len(decisions), verdicts=verdicts)
        if missing:
            self.count(missing=missing)
        if known:
            self.count(confidence={"sum": sum(known), "pairs": len(known)})
        self.count(
            cut={
                "passages": sum(passage.cut for passage in self.texts.passages),
                "queries": int(self.texts.query.cut),
            }
        )
        return decisions


def verdicts_on(decided: Sequence[tuple[QueryTexts, Sequence[Decision]]]) -> Verdicts | None:
    """The verdicts on several queries, what stays unjudged left out; None if nothing is left.

    A pair of which no reading has a grade is `ungraded`.
    """
    rows = [
        (texts.row, passage, decision)
        for texts, decisions in decided
        for passage, decision in zip(texts.rows, decisions, strict=True)
        if decision.verdict != Verdict.UNJUDGED
    ]
    if not rows:
        return None
    reasons = [decision.reason for _, _, decision in rows]
    return Verdicts(
        np.array([query for query, _, _ in rows], dtype=np.int32),
        np.array([passage for _, passage, _ in rows], dtype=np.int32),
        np.array([decision.verdict for _, _, decision in rows], dtype=np.int8),
        grade=np.array([decision.grade for _, _, decision in rows], dtype=np.float32),
        confidence=np.array([decision.confidence for _, _, decision in rows], dtype=np.float32),
        reason=reasons if any(reasons) else None,
        ungraded=np.array(
            [decision.missing is not None for _, _, decision in rows], dtype=np.bool_
        ),
    )
