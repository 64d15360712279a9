"""The forms of a reply: the instructions for the model, and how its reply is parsed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recipekit.judges.llm_judge.members import (
    ECHO_NAMES,
    REASON_NAMES,
    graded_items,
    only_member,
    other_candidates,
    passage_number,
    stated_grade,
)
from recipekit.judges.llm_judge.parsing import FoundJson, find_json
from recipekit.judges.llm_judge.presentation import is_taken_back
from recipekit.llm.completion import TokenLogprob

__all__ = ["GradeForm", "ParsedReply", "RelevantSetForm", "ReplyForm"]

SET_NAMES: Final = ("relevant", "relevant_passages")
YES_NO: Final = {
    "yes": 1,
    "true": 1,
    "relevant": 1,
    "no": 0,
    "false": 0,
    "irrelevant": 0,
    "not relevant": 0,
    "not_relevant": 0,
}

_GRADE_TOKENS: Final = re.compile(
    r'"(\d{1,9})"\s*:\s*(?:\{[^{}]*?"grade"\s*:\s*)?"?(-?\d{1,9})(?="?\s*[,}\]])'
)
"""A passage's number and its grade in the text of a reply."""
_GRADE_IN_PROSE: Final = re.compile(
    r"(?:passage\s*\W{0,3}|^[ \t]*[|*\-\[(#\"'`]{0,3}[ \t]*)(\d{1,4})[\])*\"'`]{0,3}"
    r"[ \t]*(?:\([^()\n]{0,40}\)[ \t]*)?(?:[|:=\u2013\u2014-]|->|\u2192|grade[ds]?|scores?"
    r"|is|has|gets|deserves|merits|warrants|receives|earns|(?=an?[ \t]))[ \t|:=]*"
    r"(?:an?[ \t]|the[ \t])?(?:grade|score|rating|relevance)?[ \t:=|]*[*\"'`]{0,3}"
    r"(-?\d{1,4})(?![\d:%]|\.\d|[ \t]*\w)",
    re.IGNORECASE | re.MULTILINE,
)
"""A passage's number and its grade in prose or in a table."""
_RELEVANCE_IN_PROSE: Final = re.compile(
    r"\bpassages?[ \t]+((?:\d{1,4}(?:[ \t]*,[ \t]*|[ \t]*(?:,[ \t]*)?(?:and|or|&)[ \t]+))*\d{1,4})"
    r"[ \t]+(?:is|are|isn't|aren't)((?:[ \t]+\w+){0,2}?)[ \t]+(ir)?relevant\b",
    re.IGNORECASE,
)
"""Numbers of passages that prose calls relevant or irrelevant."""
_DIGITS: Final = re.compile(r"\d+")
_NOT: Final = re.compile(r"n't\b|\bnot\b", re.IGNORECASE)
_SET_IN_PROSE: Final = re.compile(
    r"(?<!not )(?<!non-)\brelevant(?:[ \t]+passages?)?(?:[ \t]+numbers?)?(?:[ \t]+are|[ \t]+is)?"
    r"[ \t]*[:=]?[ \t*`]*"
    r"([\[(]?\d{1,4}(?:(?:[ \t]*,[ \t]*|[ \t]+and[ \t]+)\d{1,4})*[\])]?)",
    re.IGNORECASE,
)
"""Numbers of relevant passages in prose."""


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
    yes_no: bool = False
    """Whether `true`, "yes" and "relevant" are grade 1, and their opposites grade 0. Not for a
    recipe's own prompt, where 1 may mean the opposite."""

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

        A passage whose grade is missing or contradictory has none, and the others are kept. The
        whole reply is not trusted if it does not say where the grades are (see `graded_items`), if
        it grades a passage that does not exist (it may count from 0), if it uses another scale, or
        if the text around it has other grades.
        """
        found = find_json(text)
        items = None if found is None else graded_items(found.value)
        if found is None or not items:
            return _unparsed(count, "it holds no JSON object with exactly one grade per passage")
        extra = sorted(number for number in items if not 1 <= number <= count)
        if extra:
            return _unparsed(count, f"there are {count} passages, and no passage {_shown(extra)}")
        problem, allowed = None, ", ".join(map(str, self.scale))
        stated = [
            _number(stated_grade(items.get(number), flags=self.yes_no), self.yes_no)
            for number in range(1, count + 1)
        ]
        outside = [value for value in stated if value is not None and value not in self.scale]
        if outside:
            return _unparsed(count, f"grade {_shown(sorted(set(outside)))} is not one of {allowed}")
        grades = tuple(None if value is None else int(value) for value in stated)
        if _contradicts(_GRADE_IN_PROSE, found, grades):
            return _unparsed(count, "the text around the JSON object has other grades")
        positives = [number for number, grade in enumerate(grades, start=1) if grade]
        if self.yes_no and None not in grades and _calls_otherwise(found, positives):
            return _unparsed(count, "the text around the JSON object says otherwise")
        if _is_revised(found):
            return _unparsed(count, "a remark takes the answer back")
        missing = [number for number, grade in enumerate(grades, start=1) if grade is None]
        if missing:
            problem = f"passage {_shown(missing)} has no grade that is one of {allowed}"
        reasons = tuple(_reason(items.get(number)) for number in range(1, count + 1))
        return ParsedReply(grades, reasons, problem)

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

        A list with anything but different passage numbers is not trusted at all, and neither is one
        next to other members that could say which passages are relevant.
        """
        found = find_json(text)
        value = found.value if found is not None else None
        listed = only_member(value, SET_NAMES)
        if found is None or not isinstance(value, dict) or not isinstance(listed, list):
            return _unparsed(count, 'it holds no JSON object with a list "relevant"')
        if rivals := other_candidates(value, [key for key in value if value[key] is listed]):
            return _unparsed(count, f'it has the members "relevant" and "{rivals[0][:40]}"')
        numbers = [passage_number(item) for item in listed]
        if not all(number is not None and 1 <= number <= count for number in numbers):
            return _unparsed(count, f'"relevant" may hold numbers from 1 to {count} only')
        if len(set(numbers)) < len(numbers):
            return _unparsed(count, '"relevant" names a passage twice')
        for match in _SET_IN_PROSE.finditer(_remarks(found)):
            if set(map(int, re.findall(r"\d+", match[1]))) != set(numbers):
                return _unparsed(count, "the text around the JSON object has other numbers")
        if _calls_otherwise(found, [number for number in numbers if number is not None]):
            return _unparsed(count, "the text around the JSON object says otherwise")
        if _is_revised(found):
            return _unparsed(count, "a remark takes the answer back")
        grades = tuple(int(number in numbers) for number in range(1, count + 1))
        return ParsedReply(grades, (_reason(value),) * count)

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


def _number(value: Any, yes_no: bool) -> float | None:
    """The number that a grade states; None if it states none."""
    if yes_no and isinstance(value, str | bool):
        value = YES_NO.get(str(value).strip().lower(), value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,9}(?:\.\d{1,9})?\s*", value):
        value = float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _remarks(found: FoundJson) -> str:
    """What a reply says in prose: around the JSON, and in its texts that are no reasons."""
    return "\n".join([found.around, *_member_texts(found)])


def _member_texts(found: FoundJson) -> list[str]:
    if not isinstance(found.value, Mapping):
        return []
    return [
        text
        for name, text in found.value.items()
        if isinstance(text, str) and name.lower() not in REASON_NAMES | ECHO_NAMES
    ]


def _is_revised(found: FoundJson) -> bool:
    return any(map(is_taken_back, _member_texts(found)))


def _contradicts(pattern: re.Pattern[str], found: FoundJson, grades: Sequence[int | None]) -> bool:
    for match in pattern.finditer(_remarks(found)):
        index = int(match[1]) - 1
        if 0 <= index < len(grades) and int(match[2]) != grades[index]:
            return True
    return False


def _calls_otherwise(found: FoundJson, relevant: Collection[int]) -> bool:
    """Whether prose calls a relevant passage irrelevant, or the other way round."""
    for match in _RELEVANCE_IN_PROSE.finditer(_remarks(found)):
        is_relevant = (match[3] is None) != (_NOT.search(match[0]) is not None)
        if any((int(number) in relevant) != is_relevant for number in _DIGITS.findall(match[1])):
            return True
    return False


def _reason(item: Any) -> str | None:
    reason = only_member(item, REASON_NAMES)
    # A lone surrogate, which an escape may produce, cannot be written to disk.
    return (
        reason.encode("utf-8", "replace").decode() if reason and isinstance(reason, str) else None
    )


def _shown(numbers: Sequence[float]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
