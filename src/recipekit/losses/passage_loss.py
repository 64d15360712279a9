"""What a loss provides if passages can be trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from recipekit.component import Loss

if TYPE_CHECKING:
    import torch

    from recipekit.arrays import Rows
    from recipekit.component import TrainingLabels
    from recipekit.losses.frozen_matrix import FrozenMatrix

__all__ = ["CorpusLoss", "PassageLoss"]


class PassageLoss(Protocol):
    """The mean loss of frozen queries, as a function of passages."""

    queries: FrozenMatrix
    passages: FrozenMatrix

    def compute(self) -> None:
        """Compute what is cached, in one pass over the passages."""

    def block(
        self, rows: Rows, embeddings: torch.Tensor, *, update: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the mean loss and its gradient with respect to a block of passages.

        Args:
            rows: The block's passages, without duplicates, (b,).
            embeddings: Their new embeddings, (b, dim), the same on every rank.
            update: Whether the block replaces what is cached.

        Returns:
            This rank's part of the mean loss, and the gradient of the whole mean loss, (b, dim).
        """

    def save(self, folder: Path) -> None:
        """Write this rank's part of what `block` updates."""

    def load(self, folder: Path) -> None:
        """Read what all ranks wrote with `save`."""


class CorpusLoss(Loss, Protocol):
    """A loss whose negatives come from the corpus, and that passages can be trained with."""

    def over_passages(
        self, queries: FrozenMatrix, passages: FrozenMatrix, labels: TrainingLabels
    ) -> PassageLoss:
        """Return the loss as a function of passages, with the queries frozen.

        Args:
            queries: The training queries, (n, dim), frozen.
            passages: All passages, (N, dim), whose memory is written to.
            labels: The labels of the training queries.
        """
