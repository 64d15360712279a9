"""The state of training that a checkpoint keeps and `training.json` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """The loop's state, as JSON values."""

    step: int = 0
    """Optimizer steps done, over all phases."""
    steps: int = 0
    """Optimizer steps of all phases, done or not."""
    tokens: int = 0
    """Tokens of the texts that were trained on, padding left out."""
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points {step, phase, loss, gradient_norm, learning_rate}, each a mean over the steps since
    the previous point."""
    dev: dict[str, Any] = field(default_factory=dict)
    """The `DevHistory`."""
    stopped: list[dict[str, Any]] = field(default_factory=list)
    """Phases that stopped early: {phase, step, skipped}. `step` counts skipped steps as done."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Figures of phases at the boundaries of their parts: {step, phase, part, ...}; `part` names
    the part that ended, and is empty at the start of a phase."""
    since_point: list[list[float]] = field(default_factory=list)
    """Loss and gradient norm of each step after the last point of the curve."""
    watch: dict[str, Any] = field(default_factory=dict)
    """The current phase's `LossWatch`."""
    phase: dict[str, Any] = field(default_factory=dict)
    """The current phase's own state."""
    tied: bool = True
    """Whether both sides share the encoder's weights."""
    kept_tied: bool = True
    """The same of the kept weights."""

    def add_step(self, loss: float, norm: float, tokens: int) -> None:
        """Count an optimizer step, and keep its loss and gradient norm for the curve."""
        self.step += 1
        self.tokens += tokens
        self.since_point.append([loss, norm])

    def add_point(self, phase: int, learning_rate: float) -> dict[str, float] | None:
        """Add a point of the steps since the last one to the loss curve; None if there are none."""
        if not self.since_point:
            return None
        losses, norms = zip(*self.since_point, strict=True)
        point = {
            "step": self.step,
            "phase": phase,
            "loss": sum(losses) / len(losses),
            "gradient_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate,
        }
        self.curve.append(point)
        self.since_point = []
        return point
