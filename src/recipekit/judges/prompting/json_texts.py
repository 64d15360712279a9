"""JSON values inside text: whole, in prose, in a code block, with trailing commas, or cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["json_values", "lone_list"]

MOST_STARTS: Final = 200
"""Braces and brackets at which a value is looked for; an answer with more is no answer."""

_THOUGHT: Final = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_UNOPENED: Final = re.compile(r".*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
"""Chat templates open a model's thoughts in the prompt, so that the answer only closes them."""
_LEADING: Final = re.compile(r"\W*|\s*```\w*\s*|.*:[\s*_`]*")
_START: Final = re.compile(r"[{\[]")
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")


def json_values(text: str) -> Iterator[Any]:
    """Every object and array in a text, the outermost only, in order. A key that has two values has
    none (null).

    What a model thinks aloud between `<think>` and `</think>` is no part of its answer.
    """
    return (value for value, _, _ in _located(_answer(text)))


def lone_list(text: str) -> list[Any] | None:
    """The array that is all the JSON in a text and has its line to itself, but for a heading
    (`Grades: [0, 2]`); else None.

    Prose cites passages as `[1]`, too, which says nothing of them.
    """
    text = _answer(text)
    found = list(_located(text))
    if len(found) != 1 or not isinstance(found[0][0], list):
        return None
    value, start, stop = found[0]
    before, after = text[:start].rpartition("\n")[2], text[stop:].partition("\n")[0]
    return value if _LEADING.fullmatch(before) and not re.search(r"\w", after) else None


def _answer(text: str) -> str:
    return _TRAILING_COMMA.sub(r"\1", _UNOPENED.sub("", _THOUGHT.sub("", text)))


def _located(text: str) -> Iterator[tuple[Any, int, int]]:
    """Each value, and where it starts and stops."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    at = 0
    for _ in range(MOST_STARTS):
        start = _START.search(text, at)
        if start is None:
            return
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
        else:
            yield value, start.start(), at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = value if key not in found or found[key] == value else None
    return found
