"""A loss of sentence-transformers as a function of embeddings and `BatchExamples`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses as library
from torch import Tensor, nn

from recipekit.errors import ComponentError
from recipekit.losses.examples import BatchExamples
from recipekit.losses.gist import GuidedLoss
from recipekit.losses.library_losses import find
from recipekit.records import Similarity

__all__ = ["SentenceTransformersLoss"]

PAIRWISE = ("CoSENTLoss", "MarginMSELoss", "DistillKLDivLoss")
"""Losses whose similarity function compares rows with rows, not all with all."""
METRICS = {
    "TripletLoss": library.TripletDistanceMetric,
    "ContrastiveLoss": library.SiameseDistanceMetric,
    "OnlineContrastiveLoss": library.SiameseDistanceMetric,
}


class SentenceTransformersLoss:
    """The loss that `SentenceTransformersLossSpec` builds."""

    def __init__(self, name: str, options: Mapping[str, Any], similarity: Similarity) -> None:
        """Build the library's loss, without a model.

        Args:
            name: The name of the class.
            options: Its options, functions and metrics by name.
            similarity: That of the encoder, unless the options name another one.

        Raises:
            ComponentError: The library refuses the options together.
        """
        supported = find(name)
        self.form = supported.examples.name
        given = {**options, **supported.fixed}
        self.projection_dim: int | None = given.pop("projection_dim", None)
        if "similarity_fct" in supported.options:
            default = "dot_score" if similarity == "dot" else "cos_sim"
            function = given.get("similarity_fct", default)
            prefix = "pairwise_" if name in PAIRWISE else ""
            given["similarity_fct"] = getattr(util, prefix + function)
        if name in METRICS and "distance_metric" in given:
            given["distance_metric"] = getattr(METRICS[name], given["distance_metric"])
        if "directions" in given:
            given["directions"] = tuple(given["directions"])
        self.loss: Any
        if name == "GISTEmbedLoss":
            self.loss = GuidedLoss(**given)
            return
        try:
            self.loss = getattr(library, name)(model=None, **given)
        except ValueError as error:
            raise ComponentError(f"{name}: {error}") from error

    def add_weights(self, dimension: int) -> nn.Module | None:
        """Create the projection of the embeddings to `projection_dim`, if the options have it."""
        if self.projection_dim is None:
            return None
        projection = nn.Linear(dimension, self.projection_dim)
        self.loss.projection = projection
        return projection

    def __call__(self, queries: Tensor, passages: Tensor, examples: BatchExamples) -> Tensor:
        """Return the loss of the batch, a scalar.

        Args:
            queries: Embeddings `(b, dim)`.
            passages: Embeddings `(p, dim)`.
            examples: The examples, whose rows are those of the embeddings.

        Raises:
            ComponentError: The phase has not called `add_weights`, which the projection needs.
        """
        if self.projection_dim is not None and self.loss.projection is None:
            raise ComponentError(
                "projection_dim: the phase, or the loss around this one, does not train the "
                "weights of losses: use in_batch with this loss alone",
                code="RK206",
            )
        with torch.autocast(queries.device.type, enabled=False), warnings.catch_warnings():
            # The labels are 0 and 1, and what the scores should sum to is the user's decision.
            warnings.simplefilter("ignore", UserWarning)
            exact = torch.float64 if queries.dtype == torch.float64 else torch.float32
            columns = [queries[examples.query].to(exact)]
            columns += [passages[column].to(exact) for column in examples.passage.T]
            if isinstance(self.loss, GuidedLoss):
                value = self.loss.of_batch(columns, examples)
            elif hasattr(self.loss, "calculate_loss"):
                value = self.loss.calculate_loss([[column] for column in columns])
            else:
                labels = self._labels(examples, exact)
                value = self.loss.compute_loss_from_embeddings(columns, labels)
        if isinstance(value, dict):
            value = torch.stack(list(value.values())).sum()
        result: Tensor = value
        return result

    def _labels(self, examples: BatchExamples, exact: torch.dtype) -> Tensor | list[Tensor] | None:
        """Return the labels as the library's loss takes them.

        They are the scores, (m,) or (m, k), or the teacher's embedding of each column's texts.
        """
        if examples.second_encoder is not None:
            return _teacher_columns(examples, exact)
        if examples.score is None:
            return None
        is_tuple = self.form == "scored tuples"
        return (examples.score if is_tuple else examples.score[:, 0]).to(exact)


def _teacher_columns(examples: BatchExamples, exact: torch.dtype) -> list[Tensor]:
    """Return the teacher's embeddings for each column, (m, dim of the teacher) each.

    Passages that the teacher has not embedded are compared with its embedding of their query.
    """
    teacher = examples.second_encoder
    assert teacher is not None, "the form names the teacher"
    assert teacher.queries is not None, "it always embeds queries"
    queries = teacher.queries[examples.query].to(exact)
    if teacher.passages is None:
        return [queries for _ in range(1 + examples.passage.shape[1])]
    passages = teacher.passages.to(exact)
    return [queries, *(passages[column] for column in examples.passage.T)]
