"""How a model is told to answer, and how its answer is read, however it was dressed up."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from recipekit.judges.prompting.json_texts import json_values, lone_list
from recipekit.llm.calls import TokenChance

__all__ = ["Form", "Grades", "Reading", "RelevantSet"]

GRADE_KEYS: Final = ("grade", "score", "relevance", "verdict", "label", "rating")
NUMBER_KEYS: Final = ("passage", "number", "id", "index", "n", "passage_id", "passage_number")
REASON_KEYS: Final = ("reason", "reasoning", "explanation", "justification")
WORDS: Final = {
    "yes": 1,
    "true": 1,
    "relevant": 1,
    "no": 0,
    "false": 0,
    "irrelevant": 0,
    "not relevant": 0,
}

# Numbers and lines have ends: an answer of a thousand blanks or digits, as broken models give, is
# read in no time.
_GRADED: Final = re.compile(
    r'"(\d{1,9})"\s*:\s*(?:\{[^{}]*?"grade"\s*:\s*)?"?(-?\d{1,9})(?="?\s*[,}\]])'
)
_LINE: Final = re.compile(
    r"^[^\w\n]*(?:passage[^\w\n]*)?(\d{1,9})[^\w\n]*[:=\u2013-][^\S\n]*(?:grade[^\w\n]*?)?(-?\d{1,9})[^\w\n]*$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Reading:
    """What one answer says of each passage, by its place in the prompt."""

    grades: tuple[int | None, ...]
    """None where the answer gives no usable grade."""
    reasons: tuple[str | None, ...]
    problem: str | None = None
    """What is wrong with the answer, in words for the model; None for a good one."""

    def corrected_by(self, second: Reading) -> Reading:
        """What this one, which has a problem, and a second one of the same passages say together.

        A good second one stands for itself: the first may have taken one passage for another. The
        gaps of a broken one are filled.
        """
        if second.problem is None:
            return second
        grades = tuple(
            mine if its is None else its
            for mine, its in zip(self.grades, second.grades, strict=True)
        )
        reasons = tuple(
            mine if grade is None else its
            for mine, its, grade in zip(self.reasons, second.reasons, second.grades, strict=True)
        )
        return Reading(grades, reasons, second.problem)


class Form(Protocol):
    """A form of answer."""

    @property
    def scale(self) -> tuple[int, ...]:
        """The grades that there are, ascending."""

    def ask(self) -> str:
        """How to answer, in words for the model; the same for every call."""

    def schema(self, count: int) -> dict[str, Any]:
        """The JSON schema of an answer on `count` passages."""

    def write(self, grades: Sequence[int]) -> str:
        """A good answer, as a model would write it."""

    def read(self, text: str, count: int) -> Reading:
        """An answer on `count` passages."""

    def confidences(self, reading: Reading, chances: Sequence[TokenChance]) -> list[float]:
        """The probability of each grade's tokens; NaN where it cannot be told."""


@dataclass(frozen=True)
class Grades:
    """A grade for every passage: `{"1": 0, "2": 3}`."""

    scale: tuple[int, ...]
    reasons: bool = False

    def ask(self) -> str:
        """See `Form`."""
        low, high = self.scale[0], self.scale[-1]
        if self.reasons:
            one, two = (f'{{"reason": "...", "grade": {grade}}}' for grade in (low, high))
            how = "for every passage its number in quotes, with a reason of at most 20 words and then its grade"
        else:
            one, two = str(low), str(high)
            how = "for every passage its number in quotes and its grade"
        return f'Answer with one JSON object and nothing else: {how}, as in {{"1": {one}, "2": {two}}}.'

    def schema(self, count: int) -> dict[str, Any]:
        """See `Form`.

        Strict: every number is required, none may be added, so that the count is right by
        construction.
        """
        grade: dict[str, Any] = {"type": "integer", "enum": list(self.scale)}
        if self.reasons:
            grade = _closed({"reason": {"type": "string"}, "grade": grade})
        return _closed({str(number): grade for number in range(1, count + 1)})

    def write(self, grades: Sequence[int]) -> str:
        """See `Form`."""
        said: dict[str, Any] = {str(number): grade for number, grade in enumerate(grades, start=1)}
        return json.dumps(
            {number: {"reason": "so it is", "grade": grade} for number, grade in said.items()}
            if self.reasons
            else said
        )

    def read(self, text: str, count: int) -> Reading:
        """See `Form`. Of several JSON values the last that grades the most passages counts.

        Without any, a list of grades that is alone in its line does, or lines `1: 2`; a list in
        prose only cites passages. An answer that grades a passage which is not there counts them in
        another way: then none of its numbers can be trusted.
        """
        best: dict[int, tuple[Any, str | None]] = {}
        for value in json_values(text):
            found = dict(_numbered(value, count))
            if len(found) >= max(1, len(best)):
                best = found
        if not best and (listed := lone_list(text)) is not None and len(listed) == count:
            best = {number: (item, None) for number, item in enumerate(listed, start=1)}
        if not best:
            pattern = _GRADED if "{" in text else _LINE
            best = {int(match[1]): (match[2], None) for match in pattern.finditer(text)}
        graded = {number: self._grade(value) for number, (value, _) in best.items()}
        grades = tuple(graded.get(number) for number in range(1, count + 1))
        reasons = tuple(
            best[number][1] if number in best else None for number in range(1, count + 1)
        )
        extra = sorted(number for number in graded if not 1 <= number <= count)
        problem = self._problem(grades, extra) if graded else "it holds no JSON object with grades"
        return Reading(grades, reasons, problem) if not extra else _unread(count, problem)

    def _grade(self, value: Any) -> int | None:
        if isinstance(value, str):
            word = value.strip().lower()
            value = (
                WORDS.get(word)
                if self.scale == (0, 1) and word in WORDS
                else int(word)
                if re.fullmatch(r"-?\d{1,9}", word)
                else None
            )
        if isinstance(value, bool):
            value = int(value) if self.scale == (0, 1) else None
        return int(value) if isinstance(value, int | float) and value in self.scale else None

    def _problem(self, grades: Sequence[int | None], extra: Sequence[int]) -> str | None:
        missing = [number for number, grade in enumerate(grades, start=1) if grade is None]
        if missing:
            allowed = ", ".join(map(str, self.scale))
            return f"passage {_listed(missing)} has no grade that is one of {allowed}"
        return (
            f"there are {len(grades)} passages, and no passage {_listed(extra)}" if extra else None
        )

    def confidences(self, reading: Reading, chances: Sequence[TokenChance]) -> list[float]:
        """See `Form`."""
        text = "".join(chance.token for chance in chances)
        found = [math.nan] * len(reading.grades)
        ends: list[int] = []
        for chance in chances:
            ends.append((ends[-1] if ends else 0) + len(chance.token))
        for match in _GRADED.finditer(text):
            place = int(match[1]) - 1
            if 0 <= place < len(found) and reading.grades[place] == int(match[2]):
                start, stop = match.span(2)
                spans = zip([0, *ends], ends, chances, strict=False)
                found[place] = math.exp(
                    min(
                        0.0,
                        sum(
                            chance.logprob
                            for begin, end, chance in spans
                            if begin < stop and end > start
                        ),
                    )
                )
        return found


@dataclass(frozen=True)
class RelevantSet:
    """The numbers of the relevant passages.

    `{"relevant": [2]}`. Relevant is grade 1, the rest grade 0.
    """

    reasons: bool = False
    scale: tuple[int, ...] = (0, 1)

    def ask(self) -> str:
        """See `Form`."""
        reason, how = (
            ('"reason": "...", ', "a reason of at most 40 words, and then ")
            if self.reasons
            else ("", "")
        )
        example, none = f'{{{reason}"relevant": [2, 5]}}', f'{{{reason}"relevant": []}}'
        what = f"the numbers of all relevant passages, as in {example}, or {none} if none is"
        return f"Answer with one JSON object and nothing else: {how}{what}."

    def schema(self, count: int) -> dict[str, Any]:
        """See `Form`."""
        numbers = {"type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}}
        return _closed(
            {**({"reason": {"type": "string"}} if self.reasons else {}), "relevant": numbers}
        )

    def write(self, grades: Sequence[int]) -> str:
        """See `Form`."""
        reason = {"reason": "so it is"} if self.reasons else {}
        return json.dumps(
            {
                **reason,
                "relevant": [number for number, grade in enumerate(grades, start=1) if grade],
            }
        )

    def read(self, text: str, count: int) -> Reading:
        """See `Form`. Of several JSON values the last that names such a list counts, or else a list
        that is alone in its line.

        Of a list that holds anything but passages' numbers nothing is trusted.
        """
        named = [
            (listed, _reason(value))
            for value in json_values(text)
            if (listed := _listing(value)) is not None
        ]
        listed, reason = named[-1] if named else (lone_list(text), None)
        if listed is None:
            return _unread(count, 'it holds no JSON object with a list "relevant"')
        numbers = [_number(item) for item in listed]
        if any(number is None or not 1 <= number <= count for number in numbers):
            return _unread(count, f'"relevant" may hold numbers from 1 to {count} only')
        return Reading(
            tuple(int(number in numbers) for number in range(1, count + 1)), (reason,) * count
        )

    def confidences(self, reading: Reading, chances: Sequence[TokenChance]) -> list[float]:
        """See `Form`: never, since a passage that is not listed has no token of its own."""
        return [math.nan] * len(reading.grades)


def _unread(count: int, problem: str | None) -> Reading:
    return Reading((None,) * count, (None,) * count, problem)


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _numbered(
    value: Any, count: int, depth: int = 0
) -> Iterator[tuple[int, tuple[Any, str | None]]]:
    """(number, (grade, reason)) in a JSON value: by numbered keys, numbered objects in a list, or a
    list of `count` grades in an object.
    """
    if isinstance(value, Mapping):
        numbered = {
            number: item for key, item in value.items() if (number := _number(key)) is not None
        }
        for number, item in numbered.items():
            yield number, _graded(item)
        if not numbered and depth < 2:  # `{"grades": {...}}`
            for item in value.values():
                yield from _numbered(item, count, depth + 1)
    elif isinstance(value, list):
        items = [item for item in value if isinstance(item, Mapping)]
        if items:
            pairs = [(_number(_first(item, NUMBER_KEYS)), _graded(item)) for item in items]
            yield from ((number, graded) for number, graded in pairs if number is not None)
        elif depth and len(value) == count:
            yield from ((number, (item, None)) for number, item in enumerate(value, start=1))


def _graded(item: Any) -> tuple[Any, str | None]:
    return (_first(item, GRADE_KEYS), _reason(item)) if isinstance(item, Mapping) else (item, None)


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
    lowered = {str(key).lower(): value for key, value in item.items()}
    return next((lowered[key] for key in keys if key in lowered), None)


def _reason(item: Any) -> str | None:
    found = _first(item, REASON_KEYS) if isinstance(item, Mapping) else None
    # Half of a surrogate pair, as an escape may give, can be written nowhere.
    return found.encode("utf-8", "replace").decode() if isinstance(found, str) and found else None


def _number(value: Any) -> int | None:
    """The passage's number in `3`, `"3"`, `"passage 3"`, `"[3]"`, or an object that bears one."""
    if isinstance(value, Mapping):
        value = _first(value, NUMBER_KEYS)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if len(value) < 10 and value.isdecimal():  # as a rule, and much quicker
        return int(value)
    match = re.fullmatch(r"\W*(?:passage\W*)?(\d{1,9})\W*", value, re.IGNORECASE)
    return int(match[1]) if match else None


def _listing(value: Any) -> list[Any] | None:
    """The list of relevant passages in a JSON object, under `relevant`."""
    if isinstance(value, Mapping):
        found = [
            item
            for key, item in value.items()
            if str(key).lower().startswith("relevant") and isinstance(item, list)
        ]
        return found[0] if found else None
    return None


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
