"""The word that a misspelt one was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable

from recipekit.lookalikes import plain

__all__ = ["did_you_mean"]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the most similar word, or an empty text without one.

    Characters of the word that look like others count as those.
    """
    import difflib

    close = difflib.get_close_matches(plain(word), list(words), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
