"""`${env:NAME}`: the only interpolation in recipes, for URLs and credentials.

Values from the environment are only in the validated components. Everything that is shown or stored
passes through `redact`.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Final
from urllib.parse import quote

__all__ = ["PLACEHOLDER", "expand", "has_placeholder", "malformed", "names", "redact"]

PLACEHOLDER: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_SIMILAR = re.compile(r"\$\{\s*env\b[^}]*\}?", re.IGNORECASE)
_SHORTEST = 4
"""Characters; a shorter value is not secret, and replacing every `80` would garble figures."""

_NOT_SECRET = frozenset(
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
"""Values for servers that require a key but ignore it; replacing these would garble messages."""

_expanded: dict[str, str] = {}


def has_placeholder(value: Any) -> bool:
    """Whether a value, or a text inside it, contains `${env:...}`, well-formed or not."""
    if isinstance(value, str):
        return _SIMILAR.search(value) is not None
    if isinstance(value, dict):
        return any(map(has_placeholder, value.values()))
    return isinstance(value, list) and any(map(has_placeholder, value))


def malformed(text: str) -> str | None:
    """Return the first part of a text that is almost a placeholder, such as `${ENV:X}`."""
    return next(
        (match[0] for match in _SIMILAR.finditer(text) if not PLACEHOLDER.fullmatch(match[0])), None
    )


def names(text: str) -> list[str]:
    """Return the variables in a text."""
    return PLACEHOLDER.findall(text)


def expand(text: str) -> str:
    """Replace every placeholder with the value of its variable, and remember it for `redact`.

    Raises:
        KeyError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ[match[1]]
        _remember(found, match[0])
        return found

    return PLACEHOLDER.sub(value, text)


def _remember(value: str, placeholder: str) -> None:
    if value.lower() in _NOT_SECRET:
        return
    # The forms of a value in log lines, tracebacks and URLs.
    forms = (
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(value, safe=""),
    )
    _expanded.update({form: placeholder for form in forms if len(form) >= _SHORTEST})


def redact(text: str) -> str:
    """Replace every value that this process took from the environment with its `${env:NAME}`.

    Values shorter than four characters, and words such as `none`, are kept: they are not secret,
    and they occur in figures and sentences.
    """
    for value in sorted(_expanded, key=len, reverse=True):
        text = text.replace(value, _expanded[value])
    return text
