"""What a failed request to an engine tells, whichever engine it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recipekit.engines.retry import Transient

__all__ = ["Failure", "short"]

PASSING: Final = frozenset({"unreachable", "lost", "timeout", "busy", "failing", "partial"})
"""Kinds of failure that may be gone at the next attempt."""
_LONGEST: Final = 300
"""Characters of a server's words that are told."""


@dataclass(frozen=True)
class Failure:
    """Why a request, or a part of one, failed."""

    kind: str
    """What it means, as each engine's remedies name it."""
    text: str
    """What the server or the system said."""
    asked: float | None = None
    """Seconds that the server wants us to wait."""
    clauses: int | None = None
    """For kind `clauses`: the most that the server takes in one query."""

    @property
    def transient(self) -> Transient | None:
        """Why another attempt may help; None where none would."""
        return Transient(self.text, self.asked) if self.kind in PASSING else None


def short(text: str) -> str:
    """A server's words on one line, and not too many."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
