"""A loss over pairs of a positive and a negative."""

from typing import Annotated

from pydantic import Field

from recipekit.component import Context, Loss, LossSpec
from recipekit.records import Verdict


class PairwiseSpec(LossSpec):
    """The logistic loss over all pairs of a positive and a negative of a query (RankNet)."""

    temperature: Annotated[float, Field(gt=0)] = 0.05
    """What similarities are divided by."""

    def build(self, context: Context) -> Loss:
        return Pairwise(self.temperature)


class Pairwise(Loss):
    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, queries, passages, mask):
        from torch.nn.functional import softplus

        scores = queries @ passages.T / self.temperature  # (queries, passages)
        positive = (mask == Verdict.POSITIVE).to(scores.dtype)
        negative = (mask == Verdict.NEGATIVE).to(scores.dtype)
        pairs = positive[:, :, None] * negative[:, None, :]
        losses = softplus(scores[:, None, :] - scores[:, :, None]) * pairs
        return losses.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)
