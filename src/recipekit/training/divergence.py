"""When training cannot recover: a loss that is not finite, or one that has risen for long."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from recipekit.errors import RunError

__all__ = ["LossWatch"]

WINDOW = 50
"""Steps whose mean loss is compared. The losses of single batches vary, the means of fifty hardly
do."""


@dataclass
class LossWatch:
    """Watches the loss of one phase, since another phase's loss has another scale.

    Training has diverged when the mean loss of the last 50 steps exceeds twice that of the phase's
    first 50, plus 1. An encoder that collapses to one point has the loss log N, above that of
    almost every pretrained encoder. A loss that stalls or overfits stays far below.
    """

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)

    def add(
        self,
        loss: float,
        gradient_norm: float,
        step: int,
        learning_rate: float,
        describe_batch: Callable[[], str] = lambda: "",
    ) -> None:
        """Check a step's loss and gradient norm.

        Args:
            loss: The mean loss.
            gradient_norm: The norm of all gradients before clipping.
            step: The step over all phases, counted from 1.
            learning_rate: The step's learning rate.
            describe_batch: Returns the phase and the texts to name, for the message.

        Raises:
            RunError: The loss or the gradient is NaN or infinite, or the loss has risen for long.
        """
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            what = (
                f"the gradient is {gradient_norm:g} where the loss is {loss:g}"
                if math.isfinite(loss)
                else f"the loss is {loss:g}"
            )
            raise RunError(
                f"training failed at step {step}{describe_batch()}: {what}, learning rate "
                f"{learning_rate:.3g}. Try a lower learning_rate or a higher temperature; if it is "
                "the first step, train.precision: fp32",
                code="RK632",
            )
        if len(self.first) < WINDOW:
            self.first.append(loss)
            return
        self.last = [*self.last[-WINDOW + 1 :], loss]
        first, last = sum(self.first) / WINDOW, sum(self.last) / len(self.last)
        if len(self.last) == WINDOW and last > 2 * first + 1:
            raise RunError(
                f"training diverged at step {step}: the mean loss of the last {WINDOW} steps is "
                f"{last:.4g}, that of the first {WINDOW} was {first:.4g}, learning rate "
                f"{learning_rate:.3g}. Try a lower learning_rate or a higher warmup_ratio",
                code="RK633",
            )
