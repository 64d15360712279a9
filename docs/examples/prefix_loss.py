"""A loss that contains another loss, and applies it to prefixes of the embeddings."""

from typing import Annotated

from pydantic import Field

from recipekit.component import Context, Loss, LossSpec, Slot


class PrefixLossSpec(LossSpec):
    """Applies a loss to several prefixes of the embeddings (Matryoshka, arXiv 2205.13147)."""

    inner: Slot[LossSpec] = Slot(use="infonce")
    """The loss for each prefix; its negatives come from the batch."""
    dimensions: Annotated[tuple[int, ...], Field(min_length=1)]
    """Lengths of the prefixes, for example [64, 128, 384]."""

    def build(self, context: Context) -> Loss:
        """Build the loss and the one inside it."""
        return PrefixLoss(self.inner.build(context), self.dimensions)


class PrefixLoss(Loss):
    def __init__(self, inner: Loss, dimensions: tuple[int, ...]) -> None:
        self.inner, self.dimensions = inner, dimensions

    def __call__(self, queries, passages, mask):
        import torch
        from torch.nn.functional import normalize

        losses = [
            self.inner(normalize(queries[:, :n], dim=1), normalize(passages[:, :n], dim=1), mask)
            for n in self.dimensions
        ]
        return torch.stack(losses).mean(dim=0)
