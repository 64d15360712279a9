"""Coordinate ascent: one side is frozen as a matrix, and the other is trained against all of it.

Source: J. Morris, "Unsupervised Text Deidentification", 2022. The query half-phase encodes B
queries per step and scores them against all N passages, without encoding a passage.
"""

from __future__ import annotations

import shutil

from recipekit.component import Context, Embeddings, Loss, Phase, StepResult
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.training.batches import QueryEpochs
from recipekit.training.gradients import corpus_gradient

__all__ = ["CoordinateAscent"]


class CoordinateAscent(Phase):
    """The query half-phase: in each cycle, freeze the passages and train on every query."""

    def __init__(self, loss: Loss, query_epochs: int, cycles: int, context: Context) -> None:
        """Plan the steps.

        Args:
            loss: A loss whose negatives come from the corpus.
            query_epochs: Passes over the training queries per cycle.
            cycles: How often the passages are frozen and trained against.
            context: The phase's context.
        """
        self.loss, self.training, self.ranks = loss, context.training, context.ranks
        self.folder = context.scratch / "frozen"
        training = context.training
        n_queries = len(training.labels.queries)
        self.epochs = QueryEpochs(n_queries, training.batch_size, training.seed, query_epochs)
        self.steps_per_epoch = self.epochs.steps_per_epoch
        self.cycle_steps = [query_epochs * self.steps_per_epoch] * cycles
        self.corpus: FrozenMatrix | None = None
        # Mining and evaluation use the untrained embeddings too, so they are a cached by-product.
        # The encoder is untrained only now, before any step and before a checkpoint is loaded.
        self.untrained: Embeddings | None = None
        if training.number == 0:
            self.untrained = context.embeddings(training.encoder_name, "passage")

    def begin(self, cycle: int) -> None:
        """Freeze the passages as the encoder embeds them at the start of the cycle."""
        self.corpus = None  # its memory is free before the next matrix needs some
        embeddings = self.untrained if cycle == 0 else None
        if embeddings is None:
            folder = self.folder / f"cycle-{cycle}"
            self._delete_frozen(keep=folder.name)
            embeddings = self.training.encode("passage", folder)
        corpus = FrozenMatrix.slice_of(embeddings.matrix, self.ranks)
        self.corpus = corpus.to(self.ranks.device)

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of a batch of queries against all frozen passages."""
        assert self.corpus is not None, "begin() freezes the passages"
        batch, seed = self.epochs.at(step)
        training = self.training
        return corpus_gradient(
            training.forward, self.loss, training.labels, self.corpus, batch, seed
        )

    def end(self) -> None:
        """Release the matrix and delete its file."""
        self.corpus = self.untrained = None
        self._delete_frozen()

    def _delete_frozen(self, keep: str = "") -> None:
        if self.ranks.is_main and self.folder.is_dir():
            for folder in self.folder.iterdir():
                if folder.name != keep:
                    shutil.rmtree(folder)
