"""The JSON object in a reply: alone, in prose or a code block, or slightly malformed.

A reply that can be read in two ways is not read at all: the judge asks once more.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["json_object"]

_THOUGHTS_END: Final = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THOUGHTS_START: Final = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
MAX_REPAIRED: Final = 20_000
"""Characters. A longer malformed reply is a model that loops, and takes minutes to repair."""
_KEY: Final = re.compile(r"""["']?([\w ]{1,40})["']?\s*:""")


def json_object(reply: str) -> dict[str, Any] | None:
    """The only JSON object in a reply; None if there is none, or more than one.

    What a model thinks aloud, up to `</think>`, is not part of its reply (chat templates open a
    model's thoughts in the prompt, so that a reply may only close them). A key with two different
    values gets the value None. A malformed object (a trailing comma, single quotes) is repaired, if
    the repair keeps every key.
    """
    thoughts = list(_THOUGHTS_END.finditer(reply))
    text = reply[thoughts[-1].end() :] if thoughts else reply
    start, end = text.find("{"), text.rfind("}")
    if _THOUGHTS_START.search(text) or start < 0 or end < start:
        return None
    candidate = text[start : end + 1]
    try:
        value = json.loads(candidate, object_pairs_hook=_without_contradictions)
    except (ValueError, RecursionError):
        value = _repaired(candidate)
    return value if isinstance(value, dict) else None


def _without_contradictions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = value if key not in found or found[key] == value else None
    return found


def _repaired(text: str) -> Any:
    """A malformed JSON object, repaired; None if that may have dropped or merged something."""
    import json_repair

    if len(text) > MAX_REPAIRED:
        return None
    try:
        value = json_repair.loads(text, skip_json_loads=True, strict=True)
    except (ValueError, RecursionError):  # several objects, or no structure
        return None
    # The repair silently keeps one of several values of a key, or of several objects.
    in_text = Counter(key.strip() for key in _KEY.findall(text))
    return value if in_text == Counter(_keys(value)) else None


def _keys(value: Any) -> Iterator[str]:
    """All keys of nested objects."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key).strip()
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
