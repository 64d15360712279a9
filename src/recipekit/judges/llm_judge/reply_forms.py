"""The forms of a reply: the instructions for the model, and how its reply is parsed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recipekit.judges.llm_judge.parsing import json_object
from recipekit.llm.completion import TokenLogprob

__all__ = ["GradeForm", "ParsedReply", "RelevantSetForm", "ReplyForm"]

LIST_KEYS: Final = ("grades", "scores", "verdicts", "judgments", "passages", "results")
"""Names of the member that holds all grades, where they are not at the top level."""
GRADE_KEYS: Final = ("grade", "score", "relevance", "verdict", "label", "rating")
NUMBER_KEYS: Final = ("passage", "number", "id", "index", "passage_id", "passage_number")
REASON_KEYS: Final = ("reason", "reasoning", "explanation", "justification")
SET_KEYS: Final = ("relevant", "relevant_passages")
YES_NO: Final = {"yes": 1, "true": 1, "no": 0, "false": 0}

_NUMBER: Final = re.compile(r"\W*(?:passage\W*)?(\d{1,9})\W*", re.IGNORECASE)
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

        The grades are the members of the object, or of its only member named like a list of
        grades. A reply that grades a passage which does not exist may count from 0: none of its
        numbers is trusted.
        """
        found = json_object(text)
        members = None if found is None else _numbered_members(found)
        if not members:
            return _unparsed(count, "it holds no JSON object with grades")
        extra = sorted(number for number in members if not 1 <= number <= count)
        if extra:
            return _unparsed(count, f"there are {count} passages, and no passage {_shown(extra)}")
        items = [members.get(number) for number in range(1, count + 1)]
        grades = tuple(self._grade(item) for item in items)
        missing = [number for number, grade in enumerate(grades, start=1) if grade is None]
        problem = None
        if missing:
            allowed = ", ".join(map(str, self.scale))
            problem = f"passage {_shown(missing)} has no grade that is one of {allowed}"
        return ParsedReply(grades, tuple(map(_reason, items)), problem)

    def _grade(self, item: Any) -> int | None:
        value = _only_value(item, GRADE_KEYS) if isinstance(item, Mapping) else item
        if self.scale == (0, 1):
            value = YES_NO.get(str(value).strip().lower(), value)
        if isinstance(value, bool):
            return None
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,9}\s*", value):
            value = int(value)
        return int(value) if isinstance(value, int | float) and value in self.scale else None

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
        """See `ReplyForm`. A list with anything but passage numbers is not trusted at all."""
        found = json_object(text) or {}
        listed = _only_value(found, SET_KEYS)
        if not isinstance(listed, list):
            return _unparsed(count, 'it holds no JSON object with a list "relevant"')
        numbers = [_passage_number(item) for item in listed]
        if not all(number is not None and 1 <= number <= count for number in numbers):
            return _unparsed(count, f'"relevant" may hold numbers from 1 to {count} only')
        grades = tuple(int(number in numbers) for number in range(1, count + 1))
        return ParsedReply(grades, (_reason(found),) * count)

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


def _numbered_members(found: Mapping[str, Any]) -> dict[int, Any] | None:
    """Items by passage number: `{"1": ...}`, or the same or a list in one named member.

    None if two members could hold the grades, or if a passage occurs twice.
    """
    numbered = [
        (number, item)
        for key, item in found.items()
        if (number := _passage_number(key)) is not None
    ]
    listed = _only_value(found, LIST_KEYS)
    if isinstance(listed, Mapping):
        numbered += (_numbered_members(listed) or {}).items()
    elif isinstance(listed, list):
        for item in listed:
            number = None
            if isinstance(item, Mapping):
                number = _passage_number(_only_value(item, NUMBER_KEYS))
            if number is None:
                return None
            numbered.append((number, item))
    members = dict(numbered)
    return members if len(members) == len(numbered) else None


def _only_value(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the only member with one of these names; None if there is not exactly one."""
    values = [value for key, value in item.items() if str(key).strip().lower() in keys]
    return values[0] if len(values) == 1 else None


def _reason(item: Any) -> str | None:
    reason = _only_value(item, REASON_KEYS) if isinstance(item, Mapping) else None
    # A lone surrogate, which an escape may produce, cannot be written to disk.
    return (
        reason.encode("utf-8", "replace").decode() if reason and isinstance(reason, str) else None
    )


def _passage_number(value: Any) -> int | None:
    """The number in `3`, `"3"`, `"passage 3"` or `"[3]"`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if len(value) < 10 and value.isdecimal():  # nearly always, and much faster
        return int(value)
    match = _NUMBER.fullmatch(value)
    return int(match[1]) if match else None


def _shown(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
