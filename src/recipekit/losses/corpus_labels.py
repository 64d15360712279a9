"""`CorpusLabels`: the labels of a batch of queries, as a loss over the whole corpus takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recipekit.arrays import Floats, Rows
from recipekit.component import TrainingLabels
from recipekit.query_pairs import QueryPairs

__all__ = ["CorpusLabels"]


@dataclass(frozen=True)
class CorpusLabels:
    """The positive and the ignored passages of n queries. Every other passage is a negative.

    All tensors but the weights are int64. A pair occurs at most once.
    """

    n_queries: int
    positive_queries: Tensor
    """Query of each positive pair, in [0, n), ascending."""
    positive_rows: Tensor
    """Passage of each positive pair."""
    positive_weights: Tensor
    """float32; a query's weights sum to 1."""
    ignored_queries: Tensor
    """Query of each ignored pair, in [0, n), ascending."""
    ignored_rows: Tensor
    """Passage of each ignored pair."""

    @classmethod
    def of(
        cls,
        positive: QueryPairs,
        weights: Floats,
        ignored: QueryPairs,
        device: torch.device | str = "cpu",
    ) -> CorpusLabels:
        """Build from the pairs of a batch.

        Args:
            positive: The positive pairs.
            weights: Weight of each positive pair, greater than 0, summing to 1 over each query.
            ignored: The ignored pairs, of as many queries.
            device: Where the tensors go.

        Raises:
            ValueError: A pair is both positive and ignored, or a weight is not positive.
        """
        if not (weights > 0).all():
            raise ValueError("the weight of a positive must be greater than 0")
        if np.intersect1d(_keys(positive), _keys(ignored)).size:
            raise ValueError("a pair is both positive and ignored")
        return cls(
            positive.n_queries,
            *positive.to_torch(device),
            torch.from_numpy(weights).to(device, non_blocking=True),
            *ignored.to_torch(device),
        )

    @classmethod
    def of_queries(
        cls, labels: TrainingLabels, queries: Rows, device: torch.device | str = "cpu"
    ) -> CorpusLabels:
        """Build from the labels of some training queries.

        Args:
            labels: The labels of all training queries.
            queries: Training queries of the batch, (n,).
            device: Where the tensors go.

        Raises:
            ValueError: As `of`.
        """
        positive, at = labels.positive.take(queries), labels.positive.of(queries)[1]
        return cls.of(positive, labels.weight[at], labels.ignored.take(queries), device)

    def __len__(self) -> int:
        return self.n_queries


def _keys(pairs: QueryPairs) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """One number per pair; passages are row numbers below 2**31."""
    return (pairs.query << 31) + pairs.passage
