"""Fences: lines that part a prompt, with a code that no text of the call contains.

A passage is hostile input. Whatever it holds, its text cannot end its fence: the code is drawn by a
keyed hash of all that is asked, and drawn again until no text has it, so that it is unguessable for
who writes a passage, and yet the same whenever the same is asked. Lines that look like a fence of
another code are marked as quoted, lest they confuse the model.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recipekit.artifacts.key import canonical

__all__ = ["Asked", "clean", "code_for", "end", "fenced", "read"]

CODE_LENGTH: Final = 8
"""Letters of 32 kinds: 40 bits, in about five tokens."""

_LINE: Final = re.compile(r"^=== ([a-z2-7]{8}) (query|reference|passage|end)(?: (\d+))? ===$")
_FENCE_LIKE: Final = re.compile(
    r"^(?=[^\S\n]*[=\uff1d\u2550]{3,}[^\S\n]*[^\s=\uff1d\u2550])", re.MULTILINE
)
_BREAKS: Final = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def clean(text: str) -> str:
    """A text as it is shown to a model: what a reader cannot see is no part of it, and no line
    looks like a fence.

    Line separators become newlines and other control characters blanks. Bidirectional marks,
    zero-width characters, tag characters and the variation selectors of plane 14, in which
    instructions can hide, are taken out; the joiners that Persian, Indic scripts and emoji are
    written with stay. A line that begins as a fence does is quoted with `> `.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    text = _CONTROLS.sub(" ", _BREAKS.sub("\n", text))
    return _FENCE_LIKE.sub("> ", text).strip()


def code_for(seed: int, texts: Sequence[str]) -> str:
    """The code of a call.

    BLAKE2b over all of its texts, keyed by the seed, drawn again while a text contains it.
    """
    key = seed.to_bytes(8, "little", signed=True)
    everything = canonical(list(texts)).encode()
    lowered = [text.lower() for text in texts]
    attempt = 0
    while True:
        salt = attempt.to_bytes(8, "little")
        digest = hashlib.blake2b(everything, digest_size=5, key=key, salt=salt).digest()
        code = base64.b32encode(digest).decode().lower()
        if not any(code in text for text in lowered):
            return code
        attempt += 1


def fenced(code: str, part: str, text: str) -> str:
    """A part of a prompt behind its fence.

    `query`, `reference 1`, `passage 1`. An `end` must follow the last of some parts.
    """
    return f"=== {code} {part} ===\n{text}"


def end(code: str) -> str:
    """The line after the last part."""
    return f"=== {code} end ==="


@dataclass(frozen=True)
class Asked:
    """The texts that a prompt holds, as they stand behind its fences."""

    query: str
    references: tuple[str, ...]
    passages: tuple[str, ...]


def read(messages: Sequence[Mapping[str, str]]) -> Asked:
    """Take a prompt apart as a careful reader would: by lines that bear the code of its first
    fence.

    Args:
        messages: `{"role": ..., "content": ...}`; the texts stand in the first user message.

    Raises:
        ValueError: There is no fence in it.
    """
    content = next(message["content"] for message in messages if message["role"] == "user")
    parts: dict[str, list[str]] = {"query": [], "reference": [], "passage": []}
    code: str | None = None
    lines: list[str] | None = None
    kind = ""

    def close() -> None:
        if lines is not None:
            parts[kind].append("\n".join(lines))

    for line in content.split("\n"):
        match = _LINE.match(line)
        if match and code in (None, match[1]):
            close()
            code, kind = match[1], match[2]
            lines = None if kind == "end" else []
        elif lines is not None:
            lines.append(line)
    if code is None or not parts["query"]:
        raise ValueError("no fenced query in the first user message")
    return Asked(parts["query"][0], tuple(parts["reference"]), tuple(parts["passage"]))
