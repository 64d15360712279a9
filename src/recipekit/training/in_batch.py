"""In-batch training: a loss over the queries and passages of each batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from recipekit.arrays import Rows
from recipekit.component import Context, ExampleForm, Loss, Phase, PhasePart, StepResult
from recipekit.errors import RunError
from recipekit.records import Side, Verdict
from recipekit.training.batches import Epochs, labelled_batch
from recipekit.training.example_batches import ExampleEpochs
from recipekit.training.gradients import batch_gradient
from recipekit.training.loss_weights import (
    add_loss_weights,
    average_over_ranks,
    remove_loss_weights,
)
from recipekit.training.margins import warn_of_unreachable_margins
from recipekit.training.second_encoder import SecondEncoderEmbeddings, TeacherScores

__all__ = ["InBatch", "InBatchExamples"]


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
        labels = self.training.labels
        drawn = labelled_batch(labels, batch, self.num_hard_negatives, seed)
        rows: dict[Side, Rows] = {"query": labels.queries[batch], "passage": drawn.passages}
        mask = torch.from_numpy(drawn.mask)
        result = batch_gradient(self.training.forward, self.loss, rows, mask, seed, self.ranks)
        alone = int((drawn.mask != Verdict.NEGATIVE).all(axis=1).sum())
        self.trained += len(batch)
        self.without_negative += alone
        return replace(result, without_negative=alone)

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


class InBatchExamples(Phase):
    """Batches of pairs, triplets or tuples, for a loss that reads them."""

    def __init__(
        self,
        loss: Loss,
        form: ExampleForm,
        epochs: int,
        num_hard_negatives: int,
        context: Context,
    ) -> None:
        """Plan the steps.

        Args:
            loss: A loss of examples.
            form: The examples that it reads.
            epochs: Passes over the training queries.
            num_hard_negatives: Hard negatives of each query, at most.
            context: The phase's context.

        Raises:
            RunError: The training queries have no such examples, or a second encoder's embeddings
                do not have the dimension that the loss needs.
        """
        self.loss, self.training, self.ranks = loss, context.training, context.ranks
        self.progress = context.progress
        training = context.training
        self.examples = ExampleEpochs(
            training.labels, form, num_hard_negatives, training.batch_size, training.seed, epochs
        )
        steps_per_epoch = self.examples.steps_per_epoch
        self.parts = [PhasePart(epochs * steps_per_epoch, steps_per_epoch)]
        self.used = self.conflicting = 0
        self.second_encoder: SecondEncoderEmbeddings | None = None
        self.teacher: TeacherScores | None = None
        if form.second_encoder is not None and form.second_encoder.gives == "scores":
            pairs = self.examples.pairs()
            self.teacher = TeacherScores.of(form.second_encoder.name, *pairs, context)
            warn_of_unreachable_margins(self.examples, self.teacher, context)
        elif form.second_encoder is not None:
            texts = self.examples.texts()
            self.second_encoder = SecondEncoderEmbeddings.embed(form.second_encoder, texts, context)

    def start(self) -> None:
        """Add the weights that the loss may have to the encoder."""
        add_loss_weights(self.loss, self.training, self.ranks)

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of one batch."""
        batch, seed = self.examples.at(step)
        labels, examples = self.training.labels, batch.examples
        rows: dict[Side, Rows] = {
            "query": labels.queries[batch.queries],
            "passage": batch.passages,
        }
        if self.second_encoder is not None:
            decided = self.examples.decided_negatives(batch)
            examples = replace(examples, second_encoder=self.second_encoder.of_batch(rows, decided))
        if self.teacher is not None:
            query = rows["query"][examples.query.numpy()]
            scores = self.teacher.of_examples(query, batch.passages[examples.passage.numpy()])
            examples = replace(examples, score=scores)
        result = batch_gradient(self.training.forward, self.loss, rows, examples, seed, self.ranks)
        average_over_ranks(self.training, self.ranks)
        self.used += len(batch.queries)
        if step % self.examples.steps_per_epoch == 0:
            self.conflicting += self.examples.conflicting
        return result

    def state(self) -> Mapping[str, Any]:
        """Return the counts of queries so far."""
        return {"used": self.used, "conflicting": self.conflicting}

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Continue counting."""
        self.used, self.conflicting = state["used"], state["conflicting"]

    def end(self) -> None:
        """Warn of queries that were not trained on, and remove the weights of the loss."""
        remove_loss_weights(self.training)
        if not self.used:
            return
        examples, total = self.examples, len(self.training.labels.queries)
        if examples.left_out:
            self.progress.warn(
                f"in_batch: {examples.left_out:,} of {total:,} training queries have no "
                f"{examples.form.name}, and were not trained on"
            )
        if self.conflicting:
            self.progress.warn(
                f"in_batch: {self.conflicting:,} queries, over all epochs, were left out because "
                "their passages are positives of, or ignored for, other queries of every batch "
                "that was tried. Smaller batches, or infonce, which masks such pairs, help"
            )
        self.used = self.conflicting = 0
