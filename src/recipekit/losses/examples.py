"""`BatchExamples`: training examples as a loss of sentence-transformers reads them, one per row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["BatchExamples", "SecondEncoderBatch"]


@dataclass(frozen=True)
class SecondEncoderBatch:
    """The embeddings of a batch's texts by a second encoder, and what the labels decided.

    A side that the loss's `SecondEncoder` does not list is None.
    """

    queries: Tensor | None
    """Embeddings of the queries, float32 (b, dim of the second encoder)."""
    passages: Tensor | None
    """Embeddings of the passages, float32 (p, dim of the second encoder)."""
    decided_negatives: Tensor
    """Whether a judge or a source decided that a passage is a negative of a query, bool (b, p)."""

    def to(self, device: torch.device | str) -> SecondEncoderBatch:
        """Return the same embeddings on a device."""
        queries, passages = (
            None if side is None else side.to(device) for side in (self.queries, self.passages)
        )
        return SecondEncoderBatch(queries, passages, self.decided_negatives.to(device))


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
    second_encoder: SecondEncoderBatch | None = None
    """What a second encoder gives, in forms with a `SecondEncoder`."""

    def to(self, device: torch.device | str) -> BatchExamples:
        """Return the same examples on a device."""
        return replace(
            self,
            query=self.query.to(device),
            passage=self.passage.to(device),
            score=None if self.score is None else self.score.to(device),
            second_encoder=None if self.second_encoder is None else self.second_encoder.to(device),
        )
