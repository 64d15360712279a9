"""Characters that no tokenizer, server or file accepts, replaced where data enters."""

from __future__ import annotations

import re

__all__ = ["clean_text"]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Replace NUL and unpaired surrogates by U+FFFD.

    Arrow, UTF-8 and tokenizers reject unpaired surrogates, which come from JSON escapes. C
    libraries end a text at NUL. Later stages rely on this, and clean nothing.
    """
    return _UNUSABLE.sub(REPLACEMENT, text)
