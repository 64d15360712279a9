"""The word that a misspelt one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from recipekit.lookalikes import plain

__all__ = ["did_you_mean", "listed"]

_MAX_WORDS: Final = 1000
_MAX_LENGTH: Final = 200
"""The comparison takes too long for more words or longer ones."""
_MAX_LISTED: Final = 20


def listed(words: Iterable[str]) -> str:
    """Return words in one line, the first twenty of them."""
    names = list(words)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the most similar word, or an empty text without one.

    Characters of the word that look like others count as those.
    """
    import difflib

    known = list(words)
    if len(known) > _MAX_WORDS or len(word) > _MAX_LENGTH:
        return ""
    close = difflib.get_close_matches(plain(word), known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
