"""`BatchExamples`: training examples as a loss of sentence-transformers reads them, one per row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BatchExamples"]


@dataclass(frozen=True)
class BatchExamples:
    """m examples over the embeddings of a batch: a query each, and k passages each."""

    query: Tensor
    """Row of each example's query, int64 (m,)."""
    passage: Tensor
    """Rows of each example's passages, int64 (m, k). In pairs, triplets and tuples, the first one
    is the positive, and the others are negatives."""
    score: Tensor | None = None
    """A label or score of each passage, float32 (m, k), in labelled and scored forms."""

    def to(self, device: torch.device | str) -> BatchExamples:
        """Return the same examples on a device."""
        score = None if self.score is None else self.score.to(device)
        return BatchExamples(self.query.to(device), self.passage.to(device), score)
