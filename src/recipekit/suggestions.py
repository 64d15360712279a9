"""What a misspelt word may have been meant for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing where no word is did_you_mean."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
