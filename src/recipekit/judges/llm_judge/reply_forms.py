"""The forms of a reply: the instructions for the model, and how its reply is parsed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recipekit.judges.llm_judge.parsing import find_answer
from recipekit.llm.completion import TokenLogprob

__all__ = ["GradeForm", "ParsedReply", "RelevantSetForm", "ReplyForm"]

WRAPPER_NAMES: Final = frozenset(
    "answer grades judgments output passages response result results scores verdicts".split()
)
"""Names of an answer's only member, in which a model may put the object that was asked for."""

_NUMBER: Final = re.compile(r"\s*(?:passage[\s_]{0,3})?(\d{1,9})\s*", re.IGNORECASE)
_GRADE: Final = re.compile(r"\s*-?\d{1,9}(?:\.\d{1,9})?\s*")
_GRADE_TOKENS: Final = re.compile(
    r'"(\d{1,9})"\s*:\s*(?:\{[^{}]*?"grade"\s*:\s*)?"?(-?\d{1,9})(?="?\s*[,}\]])'
)
"""A passage's number and its grade in the text of a reply."""


@dataclass(frozen=True)
class ParsedReply:
    """What a reply says of each passage, in prompt order."""

    grades: tuple[int | None, ...]
    """None for a passage without exactly one valid grade."""
    reasons: tuple[str | None, ...]
    problem: str | None = None
    """What is wrong with the reply, worded for the model; None if every passage has a grade."""

    @property
    def graded(self) -> int:
        """How many passages have a grade."""
        return sum(grade is not None for grade in self.grades)


class ReplyForm(Protocol):
    """A form of reply."""

    @property
    def scale(self) -> tuple[int, ...]:
        """The grades, ascending."""

    def instruction(self) -> str:
        """How to reply, worded for the model; the same for every call."""

    def schema(self, count: int) -> dict[str, Any]:
        """The JSON schema of a reply on `count` passages."""

    def write(self, grades: Sequence[int]) -> str:
        """A correct reply, as a model would write it."""

    def parse(self, text: str, count: int) -> ParsedReply:
        """Read a reply on `count` passages."""

    def confidences(self, parsed: ParsedReply, logprobs: Sequence[TokenLogprob]) -> list[float]:
        """The probability of each grade's tokens; NaN if unknown."""


@dataclass(frozen=True)
class GradeForm:
    """A grade for every passage: `{"1": 0, "2": 3}`."""

    scale: tuple[int, ...]
    explain: bool = False

    def instruction(self) -> str:
        """See `ReplyForm`."""
        low, high = str(self.scale[0]), str(self.scale[-1])
        content = "for every passage its number in quotes and its grade"
        if self.explain:
            low, high = (f'{{"reason": "...", "grade": {grade}}}' for grade in (low, high))
            content = (
                "for every passage its number in quotes, with a reason of at most 20 words and "
                "then its grade"
            )
        return (
            f"Answer with one JSON object and nothing else: {content}, as in "
            f'{{"1": {low}, "2": {high}}}.'
        )

    def schema(self, count: int) -> dict[str, Any]:
        """See `ReplyForm`. Every number is required and no other allowed, so the count is right."""
        grade: dict[str, Any] = {"type": "integer", "enum": list(self.scale)}
        if self.explain:
            grade = _object_schema({"reason": {"type": "string"}, "grade": grade})
        return _object_schema({str(number): grade for number in range(1, count + 1)})

    def write(self, grades: Sequence[int]) -> str:
        """See `ReplyForm`."""
        numbered = {str(number): grade for number, grade in enumerate(grades, start=1)}
        if not self.explain:
            return json.dumps(numbered)
        return json.dumps(
            {number: {"reason": "so it is", "grade": grade} for number, grade in numbered.items()}
        )

    def parse(self, text: str, count: int) -> ParsedReply:
        """See `ReplyForm`.

        A passage without exactly one grade has none, and the others are kept. The whole reply is
        not trusted if it grades a passage that does not exist (it may count from 0), or if it uses
        another scale.
        """
        items = _by_passage(_unwrapped(find_answer(text)))
        if not items:
            return _unparsed(count, "it is not one JSON object with exactly one grade per passage")
        extra = sorted(number for number in items if not 1 <= number <= count)
        if extra:
            return _unparsed(count, f"there are {count} passages, and no passage {_shown(extra)}")
        ordered = [items.get(number) for number in range(1, count + 1)]
        stated = [_stated_grade(item) for item in ordered]
        allowed = ", ".join(map(str, self.scale))
        outside = {grade for grade in stated if grade is not None and grade not in self.scale}
        if outside:
            return _unparsed(count, f"grade {_shown(sorted(outside))} is not one of {allowed}")
        missing = [number for number, grade in enumerate(stated, start=1) if grade is None]
        problem = f"passage {_shown(missing)} has no grade that is one of {allowed}"
        return ParsedReply(
            tuple(None if grade is None else int(grade) for grade in stated),
            tuple(map(_reason, ordered)),
            problem if missing else None,
        )

    def confidences(self, parsed: ParsedReply, logprobs: Sequence[TokenLogprob]) -> list[float]:
        """See `ReplyForm`."""
        confidences = [math.nan] * len(parsed.grades)
        ends: list[int] = []
        for piece in logprobs:
            ends.append((ends[-1] if ends else 0) + len(piece.token))
        for match in _GRADE_TOKENS.finditer("".join(piece.token for piece in logprobs)):
            index = int(match[1]) - 1
            if 0 <= index < len(confidences) and parsed.grades[index] == int(match[2]):
                start, stop = match.span(2)
                logprob = sum(
                    piece.logprob
                    for begin, end, piece in zip([0, *ends], ends, logprobs, strict=False)
                    if begin < stop and end > start
                )
                confidences[index] = math.exp(min(0.0, logprob))
        return confidences


@dataclass(frozen=True)
class RelevantSetForm:
    """The numbers of the relevant passages, `{"relevant": [2]}`: grade 1, and 0 for the others."""

    explain: bool = False
    scale: tuple[int, ...] = (0, 1)

    def instruction(self) -> str:
        """See `ReplyForm`."""
        member, content = "", ""
        if self.explain:
            member, content = '"reason": "...", ', "a reason of at most 40 words, and then "
        return (
            f"Answer with one JSON object and nothing else: {content}the numbers of all relevant "
            f'passages, as in {{{member}"relevant": [2, 5]}}, or {{{member}"relevant": []}} if '
            "none is."
        )

    def schema(self, count: int) -> dict[str, Any]:
        """See `ReplyForm`."""
        numbers = {"type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}}
        reason = {"reason": {"type": "string"}} if self.explain else {}
        return _object_schema({**reason, "relevant": numbers})

    def write(self, grades: Sequence[int]) -> str:
        """See `ReplyForm`."""
        reason = {"reason": "so it is"} if self.explain else {}
        relevant = [number for number, grade in enumerate(grades, start=1) if grade]
        return json.dumps({**reason, "relevant": relevant})

    def parse(self, text: str, count: int) -> ParsedReply:
        """See `ReplyForm`.

        A list with anything but different passage numbers is not trusted at all.
        """
        answer = _unwrapped(find_answer(text)) or {}
        listed = answer.get("relevant")
        if not isinstance(listed, list) or not answer.keys() <= {"relevant", "reason"}:
            return _unparsed(count, 'it is not one JSON object with a list "relevant"')
        numbers = [_passage_number(item) for item in listed]
        if not all(number is not None and 1 <= number <= count for number in numbers):
            return _unparsed(count, f'"relevant" may hold numbers from 1 to {count} only')
        if len(set(numbers)) < len(numbers):
            return _unparsed(count, '"relevant" names a passage twice')
        grades = tuple(int(number in numbers) for number in range(1, count + 1))
        return ParsedReply(grades, (_reason(answer),) * count)

    def confidences(self, parsed: ParsedReply, logprobs: Sequence[TokenLogprob]) -> list[float]:
        """Always unknown: a passage that is not listed has no token of its own."""
        return [math.nan] * len(parsed.grades)


def _unparsed(count: int, problem: str) -> ParsedReply:
    return ParsedReply((None,) * count, (None,) * count, problem)


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _unwrapped(answer: dict[str, Any] | None) -> dict[str, Any] | None:
    """The object in `{"grades": {...}}`, or the answer itself."""
    if answer is not None and len(answer) == 1:
        name, inner = next(iter(answer.items()))
        if name.lower() in WRAPPER_NAMES and isinstance(inner, dict):
            return inner
    return answer


def _by_passage(answer: dict[str, Any] | None) -> dict[int, Any] | None:
    """The members by passage number; None if one has another name, or if a number occurs twice."""
    items: dict[int, Any] = {}
    for name, item in (answer or {}).items():
        number = _passage_number(name)
        if number is None or number in items:
            return None
        items[number] = item
    return items


def _passage_number(value: Any) -> int | None:
    """The number in `3`, `"3"` or `"passage 3"`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) if match else None


def _stated_grade(item: Any) -> float | None:
    """The number in `2`, `2.0`, `"2"` or `{"reason": "...", "grade": 2}`."""
    if isinstance(item, Mapping):
        item = item.get("grade") if item.keys() <= {"grade", "reason"} else None
    if isinstance(item, str) and _GRADE.fullmatch(item):
        item = float(item)
    return item if isinstance(item, int | float) and not isinstance(item, bool) else None


def _reason(item: Any) -> str | None:
    reason = item.get("reason") if isinstance(item, Mapping) else None
    # A lone surrogate, which an escape may produce, cannot be written to disk.
    return (
        reason.encode("utf-8", "replace").decode() if reason and isinstance(reason, str) else None
    )


def _shown(numbers: Sequence[float]) -> str:
    shown = ", ".join(str(number)[:20].removesuffix(".0") for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
