"""In-batch training: a loss over the queries and passages of each batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipekit.component import Context, Loss, Phase, PhasePart, StepResult
from recipekit.errors import RunError
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
        self.progress = context.progress
        if n_queries == 1 and not len(training.labels.negative):
            raise RunError(
                "in_batch has one training query, and it has no hard negative: there is nothing to "
                "compare its positive with",
                code="RK638",
            )
        self.epochs = Epochs(n_queries, training.batch_size, training.seed, epochs, smallest=2)
        self.trained = self.without_negative = 0
        steps_per_epoch = self.epochs.steps_per_epoch
        self.parts = [PhasePart(epochs * steps_per_epoch, steps_per_epoch)]

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of one batch."""
        batch, seed = self.epochs.at(step)
        result = batch_gradient(
            self.training.forward,
            self.loss,
            self.training.labels,
            self.num_hard_negatives,
            batch,
            seed,
            self.ranks,
        )
        self.trained += len(batch)
        self.without_negative += result.without_negative
        return result

    def state(self) -> Mapping[str, Any]:
        """Return the counts of queries so far."""
        return {"trained": self.trained, "without_negative": self.without_negative}

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Continue counting."""
        self.trained, self.without_negative = state["trained"], state["without_negative"]

    def end(self) -> None:
        """Warn of queries that were not trained on."""
        if self.without_negative:
            self.progress.warn(
                f"in_batch: {self.without_negative:,} of {self.trained:,} queries, over all epochs,"
                " had no negative in their batch and were not trained on. Larger batches or more "
                "hard negatives help"
            )
        self.trained = self.without_negative = 0
