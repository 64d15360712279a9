"""The word that a misspelt one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from recipekit.lookalikes import plain

__all__ = ["did_you_mean", "listed"]

_MAX_COMPARED: Final = 1000
"""Among more words, only those that differ by one edit are found: comparing all takes too long."""
_MAX_WORDS: Final = 200_000
_MAX_LENGTH: Final = 200
"""No suggestion is made among more words or for longer ones."""
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

    known = tuple(words)
    if len(known) > _MAX_WORDS or len(word) > _MAX_LENGTH:
        return ""
    written = plain(word)
    near = known if len(known) <= _MAX_COMPARED else _one_edit_away(written, known)
    close = difflib.get_close_matches(written, near, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def _one_edit_away(word: str, words: tuple[str, ...]) -> list[str]:
    """The words from which a word differs by a missing, additional, wrong or swapped character."""
    index = _by_shortened(words)
    found = {known: None for text in _shortened(word) for known in index.get(text, ())}
    return list(found)


@lru_cache(maxsize=2)
def _by_shortened(words: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Words by each of their forms with one character left out, and by themselves."""
    index: dict[str, list[str]] = {}
    for word in words:
        if len(word) <= _MAX_LENGTH:
            for text in _shortened(word):
                index.setdefault(text, []).append(word)
    return index


def _shortened(word: str) -> set[str]:
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}
