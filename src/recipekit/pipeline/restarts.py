"""A stage whose ranks start again with smaller forward passes, since one ran out of memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipekit.errors import RanksOutOfMemory
from recipekit.stages.stage import Stage

__all__ = ["MOST_RESTARTS", "Restart"]

MOST_RESTARTS = 4
"""How often the ranks of a stage start again: the last time with a sixteenth of the tokens."""


@dataclass(frozen=True)
class Restart:
    """One of these times."""

    stage: str
    number: int
    """From 1."""
    reason: str
    remedy: str
    """What avoids it, in the imperative."""
    kept: str | None
    """What the stage had saved, such as a checkpoint; None if it starts from its beginning."""

    @classmethod
    def of(cls, stage: Stage, folder: Path, error: RanksOutOfMemory, number: int) -> Restart:
        """Describe a restart.

        Args:
            stage: The stage.
            folder: Its partial artifact.
            error: Why it starts again.
            number: How often it does, this time included.
        """
        kept = next(iter(stage.unfinished(folder)), None) if stage.unfinished else None
        return cls(stage.name, number, error.message, error.remedy, kept)

    @property
    def fields(self) -> dict[str, Any]:
        """What `run.json` and the event `stage_restarted` have of it."""
        return {
            "stage": self.stage,
            "restart": self.number,
            "reason": self.reason,
            "kept": self.kept,
        }

    @property
    def message(self) -> str:
        """The warning about it: why, what is repeated, and what avoids it."""
        start = f"from {self.kept}" if self.kept else f"from the beginning of {self.stage}"
        return (
            f"{self.reason}: all ranks start again {start}, with forward passes of half the size "
            f"and the same result (restart {self.number} of {MOST_RESTARTS}). To avoid this, "
            f"{self.remedy}"
        )
