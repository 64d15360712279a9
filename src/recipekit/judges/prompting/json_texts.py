"""JSON values inside text: whole, in prose, in a code block, with trailing commas, or cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["json_values"]

MOST_STARTS: Final = 200
"""Braces and brackets at which a value is looked for; an answer with more is no answer."""

_THOUGHT: Final = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_START: Final = re.compile(r"[{\[]")
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")


def json_values(text: str) -> Iterator[Any]:
    """Every object and array in a text, the outermost only, in order. A key that has two values has none (null).

    What a model thinks aloud between `<think>` and `</think>` is no part of its answer.
    """
    text = _TRAILING_COMMA.sub(r"\1", _THOUGHT.sub("", text))
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
            yield value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = value if key not in found or found[key] == value else None
    return found
