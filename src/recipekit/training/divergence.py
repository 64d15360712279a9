"""When training cannot be saved: a loss that is no number, or one that has risen for long."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from recipekit.errors import RunError

__all__ = ["LossWatch"]

WINDOW = 50
"""Steps whose mean loss is compared: single batches scatter, the means of fifty hardly do."""


@dataclass
class LossWatch:
    """Watches the loss of one phase (another phase's loss has another scale).

    Training has diverged when the mean loss of the last 50 steps is above twice that of the phase's
    first 50, plus 1. An encoder that collapses onto one point has the loss log N, which is more
    than that of nearly every pretrained encoder; a loss that merely stalls or overfits stays far
    below.
    """

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)

    def see(self, loss: float, gradient_norm: float, step: int, learning_rate: float) -> None:
        """Take a step's figures.

        Raises:
            RunError: The loss or the gradient is NaN or infinite, or the loss has risen for long.
        """
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise RunError(
                f"training broke down at step {step}: loss {loss:g}, gradient norm {gradient_norm:g}, learning rate "
                f"{learning_rate:.3g}. Try a lower train.learning_rate or a higher temperature; if it is the first step, "
                "train.precision: fp32",
                code="RK632",
            )
        if len(self.first) < WINDOW:
            self.first.append(loss)
            return
        self.last = [*self.last[-WINDOW + 1 :], loss]
        before, now = sum(self.first) / WINDOW, sum(self.last) / len(self.last)
        if len(self.last) == WINDOW and now > 2 * before + 1:
            raise RunError(
                f"training diverged at step {step}: the mean loss of the last {WINDOW} steps is {now:.4g}, that of the first "
                f"{WINDOW} was {before:.4g}, learning rate {learning_rate:.3g}. Try a lower train.learning_rate or a longer "
                "train.warmup_ratio",
                code="RK633",
            )
