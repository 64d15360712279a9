"""The contrastive loss over a batch, as a recipe declares it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, Loss, LossSpec
from recipekit.records import Similarity

__all__ = ["InfoNCESpec"]


class InfoNCESpec(LossSpec):
    """InfoNCE over the batch, with positive and ignored pairs excluded from the negatives."""

    similarities: ClassVar[tuple[Similarity, ...]] = ("cosine", "dot", "euclidean")

    temperature: float = Field(default=0.05, gt=0)
    """Similarities are divided by it. 0.05 (a scale of 20) is the default of
    sentence-transformers too. For a `euclidean` encoder it divides half the negated squared
    distance, which for unit vectors is the cosine less 1."""
    directions: Literal["query", "both"] = "query"
    """`query` ranks the batch's passages for each query. `both` also ranks the batch's queries for
    each positive passage and averages the two; it suits data that is searched from either side."""
    same_side_negatives: tuple[Literal["query", "passage"], ...] = ()
    """Further negatives from a text's own side: other queries for a query (`query`), and other
    passages for a positive passage (`passage`). Queries for which the passage is positive or
    ignored, and passages that are positive or ignored for the query, are left out. They cost no
    forward pass."""
    one_softmax: bool = False
    """Put all negatives of a positive pair into one softmax, as GTE does, rather than into one for
    each direction. GTE is `both` directions, `[query, passage]` and one softmax."""

    @model_validator(mode="after")
    def _has_a_softmax_for_passages(self) -> Self:
        if "passage" in self.same_side_negatives and self.directions == "query":
            if not self.one_softmax:
                raise ValueError(
                    "same_side_negatives: passage needs the softmax of passages: set directions: "
                    "both, or one_softmax: true"
                )
        return self

    def build(self, context: Context) -> Loss:
        """Build the loss."""
        from recipekit.losses.infonce_math import InfoNCE

        return InfoNCE(
            temperature=self.temperature,
            directions=self.directions,
            same_side=self.same_side_negatives,
            one_softmax=self.one_softmax,
            similarity=context.similarity,
        )
