"""In-batch training: a loss over the queries and passages of each batch."""

from __future__ import annotations

from recipekit.component import Context, Loss, Phase, PhasePart, StepResult
from recipekit.training.batches import Epochs
from recipekit.training.gradients import batch_gradient

__all__ = ["InBatch"]


class InBatch(Phase):
    """Each query brings a positive and hard negatives; the batch's other passages are negatives."""

    def __init__(self, loss: Loss, epochs: int, num_hard_negatives: int, context: Context) -> None:
        """Plan the steps.

        Args:
            loss: A loss whose negatives come from the batch.
            epochs: Passes over the training queries.
            num_hard_negatives: Hard negatives that each query adds to the batch.
            context: The phase's context.
        """
        self.loss, self.num_hard_negatives = loss, num_hard_negatives
        self.training, self.ranks = context.training, context.ranks
        training = context.training
        n_queries = len(training.labels.queries)
        self.epochs = Epochs(n_queries, training.batch_size, training.seed, epochs)
        steps_per_epoch = self.epochs.steps_per_epoch
        self.parts = [PhasePart(epochs * steps_per_epoch, steps_per_epoch)]

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of one batch."""
        batch, seed = self.epochs.at(step)
        return batch_gradient(
            self.training.forward,
            self.loss,
            self.training.labels,
            self.num_hard_negatives,
            batch,
            seed,
            self.ranks,
        )
