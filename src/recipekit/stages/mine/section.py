"""The `mine` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recipekit.component import Name, RetrieverSpec, Slot
from recipekit.recipe.sections import Section, SplitName

__all__ = ["MineSection"]


class MineSection(Section):
    """Find candidate passages for each query: the best of every retriever, fused."""

    retrievers: Annotated[dict[Name, Slot[RetrieverSpec]], Field(min_length=1)]
    """What retrieves candidates, by a name of your own."""
    fusion: Literal["rrf", "score", "union"] = "rrf"
    """How to fuse the rankings. `rrf`: reciprocal rank fusion, the sum of weight / (60 + rank).
    `score`: the weighted sum of scores, each retriever's scaled to 0..1 per query. `union`: all
    passages of all rankings, ordered by their best rank."""
    fusion_weights: dict[Name, Annotated[float, Field(gt=0)]] = Field(default={})
    """Weights of retrievers in the fusion; 1 for a retriever that is not named."""
    candidates_per_query: Annotated[int, Field(ge=1)] | None = 50
    """How many fused candidates to keep per query, in addition to source positives; null keeps all
    of them.
    """
    splits: Annotated[tuple[SplitName, ...], Field(min_length=1)] = ("train",)
    """The splits whose queries are mined."""
