"""The weights of a loss, such as a projection, as a part of the encoder while a phase trains them.

The optimizer and the checkpoints of the loop then include them. They leave the encoder when the
phase ends, so the saved model does not contain them.
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import torch
from torch import nn

from recipekit.component import Loss, LossWithWeights, Ranks, TrainingContext

__all__ = ["add_loss_weights", "average_over_ranks", "remove_loss_weights"]

NAME: Final = "loss_weights"


def add_loss_weights(loss: Loss, training: TrainingContext, ranks: Ranks) -> None:
    """Add the weights of a loss to the encoder, with initial values by the phase's seed."""
    if not isinstance(loss, LossWithWeights):
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(training.seed).generate_state(1)[0]))
        weights = loss.add_weights(training.encoder.dimension)
    if weights is not None:
        ranks.prepare(weights)
        cast(nn.Module, training.encoder).add_module(NAME, weights)


def average_over_ranks(training: TrainingContext, ranks: Ranks) -> None:
    """Divide the gradients of the weights, which are summed over ranks, by the number of these.

    Every rank computes the loss of the whole batch, and so the whole gradient of its weights.
    """
    weights = getattr(training.encoder, NAME, None)
    if weights is not None:
        for parameter in weights.parameters():
            if parameter.grad is not None:
                parameter.grad /= ranks.count


def remove_loss_weights(training: TrainingContext) -> None:
    """Remove the weights of a loss from the encoder, if there are any."""
    if hasattr(training.encoder, NAME):
        delattr(training.encoder, NAME)
