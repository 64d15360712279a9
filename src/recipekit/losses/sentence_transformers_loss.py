"""A loss of sentence-transformers as a function of embeddings and `BatchExamples`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses as library
from torch import Tensor

from recipekit.errors import ComponentError
from recipekit.losses.examples import BatchExamples
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
        if "similarity_fct" in supported.options:
            default = "dot_score" if similarity == "dot" else "cos_sim"
            function = given.get("similarity_fct", default)
            prefix = "pairwise_" if name in PAIRWISE else ""
            given["similarity_fct"] = getattr(util, prefix + function)
        if "distance_metric" in given:
            given["distance_metric"] = getattr(METRICS[name], given["distance_metric"])
        if "directions" in given:
            given["directions"] = tuple(given["directions"])
        try:
            self.loss = getattr(library, name)(model=None, **given)
        except ValueError as error:
            raise ComponentError(f"{name}: {error}") from error

    def __call__(self, queries: Tensor, passages: Tensor, examples: BatchExamples) -> Tensor:
        """Return the loss of the batch, a scalar.

        Args:
            queries: Embeddings `(b, dim)`.
            passages: Embeddings `(p, dim)`.
            examples: The examples, whose rows are those of the embeddings.
        """
        with torch.autocast(queries.device.type, enabled=False), warnings.catch_warnings():
            # The labels are 0 and 1, and what the scores should sum to is the user's decision.
            warnings.simplefilter("ignore", UserWarning)
            exact = torch.float64 if queries.dtype == torch.float64 else torch.float32
            columns = [queries[examples.query].to(exact)]
            columns += [passages[column].to(exact) for column in examples.passage.T]
            if hasattr(self.loss, "calculate_loss"):
                value = self.loss.calculate_loss([[column] for column in columns])
            else:
                labels = self._labels(examples)
                labels = None if labels is None else labels.to(exact)
                value = self.loss.compute_loss_from_embeddings(columns, labels)
        if isinstance(value, dict):
            value = torch.stack(list(value.values())).sum()
        result: Tensor = value
        return result

    def _labels(self, examples: BatchExamples) -> Tensor | None:
        """Return the labels as the library's loss takes them: (m,) or (m, k)."""
        if examples.score is None:
            return None
        is_tuple = self.form == "scored tuples"
        return examples.score if is_tuple else examples.score[:, 0]
