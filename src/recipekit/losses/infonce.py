"""The contrastive loss over a batch, as a recipe declares it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recipekit.component import Context, Loss, LossSpec

__all__ = ["InfoNCESpec"]


class InfoNCESpec(LossSpec):
    """InfoNCE over in-batch and mined negatives, with judged false negatives masked out of the
    batch.
    """

    temperature: float = Field(default=0.05, gt=0)
    """What cosine similarities are divided by. 0.05 (a scale of 20) is sentence-transformers'
    choice too.
    """
    num_hard_negatives: int = Field(default=1, ge=0)
    """How many judged negatives each query brings to the batch, where it has that many; 0 leaves
    the in-batch negatives alone. One is the usual triplet; each more costs one passage forward per
    query."""
    directions: Literal["query", "both"] = "query"
    """`query`: find the passage among passages. `both`: also find the query among the batch's
    queries, averaged in; it suits data that is searched from either side."""

    def build(self, context: Context) -> Loss:
        """Make the loss."""
        from recipekit.losses.infonce_math import InfoNCE

        return InfoNCE(
            temperature=self.temperature,
            directions=self.directions,
            negatives=self.num_hard_negatives,
        )
