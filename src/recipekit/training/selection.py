"""Which weights training keeps, and when it stops, from evaluations on dev.

A dev metric is a mean over queries, and a difference of one standard error may be noise.
`near_best` therefore keeps the latest weights whose mean is at most one standard error of the
paired difference below the best mean: of evaluations that are equal within noise, the latest has
trained longest. It never keeps weights that are worse than the untrained ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["DevHistory", "SelectionRule"]


@dataclass(frozen=True)
class SelectionRule:
    """How evaluations decide."""

    keep: Literal["near_best", "best", "last"] = "near_best"
    patience: int | None = None
    """Evaluations in a row without a new best after which a phase stops; None never stops it."""
    average: int = 1
    """Each evaluation measures, and keeps, the mean of the weights at this many evaluations."""


@dataclass
class DevHistory:
    """The evaluations so far, as JSON values."""

    points: list[dict[str, float]] = field(default_factory=list)
    """Evaluations {step, value}; the first is the untrained encoder's."""
    best_step: int | None = None
    """The step with the largest value, the earliest of equals."""
    kept_step: int | None = None
    """The step whose weights are kept."""
    best_values: list[float] = field(default_factory=list)
    """The values of the best evaluation by query."""
    phase_best: float | None = None
    """The largest value since the current phase began, that of the weights it began with included.
    """
    without_best: int = 0
    """Evaluations of the current phase since its last new best."""

    @classmethod
    def of(cls, state: dict[str, Any]) -> DevHistory:
        """Restore what `dataclasses.asdict` returned."""
        return cls(**state)

    def value(self, step: int | None) -> float:
        """Return the value of an evaluated step."""
        return next(point["value"] for point in self.points if point["step"] == step)

    def start_phase(self) -> None:
        """Let patience count from the present weights on."""
        self.phase_best = self.points[-1]["value"] if self.points else None
        self.without_best = 0

    def add(
        self,
        step: int,
        values: npt.NDArray[np.floating[Any]],
        rule: SelectionRule,
        *,
        competes: bool = True,
    ) -> bool:
        """Add an evaluation.

        Args:
            step: The step after which it was made.
            values: The metric by query, (n,).
            rule: How it decides.
            competes: Whether it may be kept and counts for patience; otherwise it is only shown.

        Returns:
            Whether the weights that were measured are to be kept.
        """
        mean = float(np.mean(values, dtype=np.float64))
        if not competes:
            self.points.append({"step": step, "value": mean})
            return False
        is_best = self.best_step is None or mean > self.value(self.best_step)
        keeps = is_best or rule.keep == "last"
        if not keeps and rule.keep == "near_best":
            untrained = self.points[0]["value"]
            keeps = mean > untrained and self._is_near_best(values)
        self.points.append({"step": step, "value": mean})
        self.without_best += 1
        if self.phase_best is None or mean > self.phase_best:
            self.phase_best, self.without_best = mean, 0
        if is_best:
            self.best_step = step
            self.best_values = [float(value) for value in values]
        if keeps:
            self.kept_step = step
        return keeps

    def stops(self, rule: SelectionRule) -> bool:
        """Return whether the current phase has run out of patience."""
        return rule.patience is not None and self.without_best >= rule.patience

    def _is_near_best(self, values: npt.NDArray[np.floating[Any]]) -> bool:
        """Return whether values are at most one standard error below the best."""
        below = np.asarray(self.best_values) - values
        if len(below) < 2:
            return bool(below.mean() <= 0)
        return bool(below.mean() <= below.std(ddof=1) / math.sqrt(len(below)))
