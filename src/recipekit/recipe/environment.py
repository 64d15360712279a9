"""`${env:NAME}`: the only interpolation of a recipe, for what is no part of a result (urls,
credentials).

A value from the environment lives in the built component alone. Whatever is shown or stored passes
through `redact`.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Final
from urllib.parse import quote

__all__ = ["PLACEHOLDER", "expand", "has_placeholder", "malformed", "names", "redact"]

PLACEHOLDER: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_MEANT = re.compile(r"\$\{\s*env\b[^}]*\}?", re.IGNORECASE)
_SHORTEST = 4
"""Characters: a shorter value is no secret, and replacing every `80` would spoil every figure."""

_NO_SECRETS = frozenset(
    {
        "none",
        "null",
        "empty",
        "dummy",
        "test",
        "local",
        "localhost",
        "token",
        "key",
        "true",
        "false",
    }
)
"""What people set where a server of their own wants some key: replacing these would spoil our own
sentences.
"""

_expanded: dict[str, str] = {}


def has_placeholder(value: Any) -> bool:
    """Whether text, or any text inside lists and maps, holds an `${env:...}`, well-formed or not."""
    if isinstance(value, str):
        return _MEANT.search(value) is not None
    if isinstance(value, dict):
        return any(map(has_placeholder, value.values()))
    return isinstance(value, list) and any(map(has_placeholder, value))


def malformed(text: str) -> str | None:
    """The first thing in a text that was meant as a placeholder and is none.

    `${env:}`, `${ENV:X}`.
    """
    return next(
        (match[0] for match in _MEANT.finditer(text) if not PLACEHOLDER.fullmatch(match[0])), None
    )


def names(text: str) -> list[str]:
    """The variables that a text asks for."""
    return PLACEHOLDER.findall(text)


def expand(text: str) -> str:
    """Replace every placeholder by its variable's value, and remember the value for `redact`.

    Raises:
        KeyError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ[match[1]]
        _remember(found, match[0])
        return found

    return PLACEHOLDER.sub(value, text)


def _remember(value: str, placeholder: str) -> None:
    if value.lower() in _NO_SECRETS:
        return
    # The forms in which a value can turn up in a log line, a traceback or a url.
    forms = (
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(value, safe=""),
    )
    _expanded.update({form: placeholder for form in forms if len(form) >= _SHORTEST})


def redact(text: str) -> str:
    """Replace every value that was taken from the environment in this process by its `${env:NAME}`.

    Values shorter than four characters, and words such as `none` that stand for no key at all, are
    left: they are no secrets, and occur in figures and sentences.
    """
    for value in sorted(_expanded, key=len, reverse=True):
        text = text.replace(value, _expanded[value])
    return text
