"""Fences: lines that separate the parts of a prompt, with a code that no text contains.

A passage is hostile input. It cannot end its fence, since the code is a keyed hash of everything
in the call, drawn again until no text contains it: unguessable for the author of a passage, yet the
same whenever the call is the same. Lines that look like a fence with another code are quoted, so
that they do not confuse the model.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["FencedTexts", "end_fence", "fence_code", "fenced", "printable", "read_fences"]

_LINE: Final = re.compile(r"^=== ([a-z2-7]{8}) (query|reference|passage|end)(?: (\d+))? ===$")
_LOOKS_LIKE_FENCE: Final = re.compile(
    r"^(?=[^\S\n]*[=\uff1d\u2550]{3,}[^\S\n]*[^\s=\uff1d\u2550])", re.MULTILINE
)
_LINE_SEPARATOR: Final = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """Remove what a reader cannot see, and quote lines that look like a fence.

    Line separators become newlines and other control characters blanks. Bidirectional marks,
    zero-width characters, tag characters and the variation selectors of plane 14, which can hide
    instructions, are removed; the joiners of Persian, Indic scripts and emoji stay. A line that
    begins like a fence is quoted with `> `.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    text = _CONTROL.sub(" ", _LINE_SEPARATOR.sub("\n", text))
    return _LOOKS_LIKE_FENCE.sub("> ", text).strip()


def fence_code(seed: int, texts: Sequence[str]) -> str:
    """The code of a call: eight letters of 32 kinds, 40 bits.

    BLAKE2b over all texts, keyed by the seed, with the next salt while a text contains the code.
    """
    key = seed.to_bytes(8, "little", signed=True)
    content = "\0".join(texts)  # no text contains the separator: see `printable`
    hashed, lowered = content.encode("utf-8", "surrogatepass"), content.lower()
    attempt = 0
    while True:
        salt = attempt.to_bytes(8, "little")
        digest = hashlib.blake2b(hashed, digest_size=5, key=key, salt=salt).digest()
        code = base64.b32encode(digest).decode().lower()
        if code not in lowered:
            return code
        attempt += 1


def fenced(code: str, part: str, text: str) -> str:
    """A part of a prompt behind its fence; `part` is `query`, `reference 1`, `passage 1`, ..."""
    return f"=== {code} {part} ===\n{text}"


def end_fence(code: str) -> str:
    """The line after the last part."""
    return f"=== {code} end ==="


@dataclass(frozen=True)
class FencedTexts:
    """The texts of a prompt."""

    query: str
    references: tuple[str, ...]
    passages: tuple[str, ...]


def read_fences(messages: Sequence[Mapping[str, str]]) -> FencedTexts:
    """Read a prompt's texts by the lines with the code of its first fence.

    Args:
        messages: `{"role": ..., "content": ...}`; the texts are in the first user message.

    Raises:
        ValueError: There is no fence.
    """
    content = next(message["content"] for message in messages if message["role"] == "user")
    parts: dict[str, list[list[str]]] = {"query": [], "reference": [], "passage": []}
    code: str | None = None
    lines: list[str] | None = None
    for line in content.split("\n"):
        match = _LINE.match(line)
        if match and code in (None, match[1]):
            code, kind = match[1], match[2]
            lines = None
            if kind != "end":
                lines = []
                parts[kind].append(lines)
        elif lines is not None:
            lines.append(line)
    if code is None or not parts["query"]:
        raise ValueError("no fenced query in the first user message")
    query, references, passages = (
        tuple("\n".join(lines) for lines in parts[kind]) for kind in parts
    )
    return FencedTexts(query[0], references, passages)
