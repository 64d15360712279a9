"""The contrastive loss over a batch, as a recipe declares it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recipekit.component import Context, Loss, LossSpec

__all__ = ["InfoNCESpec"]


class InfoNCESpec(LossSpec):
    """InfoNCE over the batch, with positive and ignored pairs excluded from the negatives."""

    temperature: float = Field(default=0.05, gt=0)
    """Similarities are divided by it. 0.05 (a scale of 20) is the default of
    sentence-transformers too."""
    directions: Literal["query", "both"] = "query"
    """`query` ranks the batch's passages for each query. `both` also ranks the batch's queries for
    each positive passage and averages the two; it suits data that is searched from either side."""

    def build(self, context: Context) -> Loss:
        """Build the loss."""
        from recipekit.losses.infonce_math import InfoNCE

        return InfoNCE(temperature=self.temperature, directions=self.directions)
