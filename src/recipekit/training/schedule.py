"""What the training loop is given: phases with their settings, and when to measure on dev."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.component import Phase
from recipekit.records import Side
from recipekit.training.optimizer import OptimizerSettings
from recipekit.training.selection import SelectionRule

__all__ = ["DevEvaluation", "ScheduledPhase"]


@dataclass(frozen=True)
class ScheduledPhase:
    """A phase with its name in the recipe and its optimizer settings."""

    name: str
    phase: Phase
    optimizer: OptimizerSettings

    @property
    def steps(self) -> int:
        """Optimizer steps of the phase."""
        return self.starts[-1]

    @property
    def epochs(self) -> int:
        """Passes over what the parts train on, the last one of each perhaps not complete."""
        return self.epochs_begun(self.steps)

    def epochs_begun(self, steps: int) -> int:
        """Return the epochs that begin within the first `steps` steps."""
        within = zip(self.starts, self.phase.parts, strict=False)
        done = [(min(part.steps, max(0, steps - start)), part) for start, part in within]
        return sum(-(-count // part.steps_per_epoch) for count, part in done)

    @cached_property
    def starts(self) -> list[int]:
        """The first step of each part, and the end of the last."""
        return [0, *accumulate(part.steps for part in self.phase.parts)]

    def part_at(self, step: int) -> int:
        """Return the part of a step of this phase."""
        return next(part for part, end in enumerate(self.starts[1:]) if step < end)

    def epochs_after(self, step: int) -> int | None:
        """Return the epochs that are complete after `step` steps, if one ends there; else None."""
        number = self.part_at(step - 1)
        part, within = self.phase.parts[number], step - self.starts[number]
        if within % part.steps_per_epoch and within != part.steps:
            return None
        earlier = self.phase.parts[:number]
        before = sum(-(-part.steps // part.steps_per_epoch) for part in earlier)
        return before + -(-within // part.steps_per_epoch)

    def ends_part(self, step: int) -> bool:
        """Return whether a part ends after `step` steps of this phase."""
        return step in self.starts[1:]


@dataclass(frozen=True)
class DevEvaluation:
    """How the loop measures the encoder while it trains."""

    measure: Callable[[], npt.NDArray[np.floating[Any]]]
    """Measure the encoder's current weights by query, (n,), higher is better; all ranks call it."""
    metric: str
    every_epochs: float = 1.0
    rule: SelectionRule = field(default_factory=SelectionRule)
    forget: Callable[[Collection[Side]], None] = lambda sides: None
    """Called when the embeddings of some sides have changed, which `measure` may keep."""

    def steps(self, scheduled: ScheduledPhase) -> frozenset[int]:
        """Return the steps of a phase after which to measure; the last one of a part always is."""
        due: set[int] = set()
        for start, part in zip(scheduled.starts, scheduled.phase.parts, strict=False):
            interval = self.every_epochs * part.steps_per_epoch
            times = int(part.steps / interval + 1e-9)
            due |= {start + max(1, round(time * interval)) for time in range(1, times + 1)}
            due.add(start + part.steps)
        return frozenset(due)
