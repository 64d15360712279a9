"""What a stage knows when it estimates its work, before it has run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipekit.component import Sizes
from recipekit.recipe.sections import Recipe

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["FLOAT_BYTES", "EstimateInputs"]

FLOAT_BYTES = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class EstimateInputs:
    """The recipe, the sizes of its data, and what earlier stages counted."""

    recipe: Recipe
    sizes: Sizes
    """Of the data set, or those that the recipe expects."""
    dataset: Dataset | None
    """The data set, once it exists."""
    summaries: Mapping[str, Mapping[str, Any]]
    """The summaries of the earlier stages that have run, by stage."""

    def labelled(self, splits: Sequence[str]) -> Sizes:
        """Return the sizes of some splits, with their own positives where there is data."""
        if self.dataset is None:
            return self.sizes.within(splits)
        import numpy as np

        queries = np.concatenate([self.dataset.rows(split) for split in splits])
        labels = self.dataset.positives["query"].to_numpy()
        return self.sizes.within(splits, positives=int(np.isin(labels, queries).sum()))

    def dimension(self, encoder: str | None) -> int | None:
        """Return the dimension of an encoder's embeddings.

        None where it cannot be known without loading the model, and the recipe does not state it.
        """
        if encoder is None:
            return None
        slot = (self.recipe.encoders or {}).get(encoder)
        known = slot.spec.known_dimension() if slot is not None else None
        return known or self.sizes.dimension

    def encoding(self, encoders: Iterable[str], queries: int | None = None) -> dict[str, Any]:
        """Return the work of encoding all passages and queries with each of some encoders.

        Texts whose vectors exist already are not encoded. Empty where a dimension is unknown.

        Args:
            encoders: Their names; one that encodes with two sets of weights is named twice.
            queries: How many queries are encoded; None for all.
        """
        n_queries = self.sizes.n_queries if queries is None else queries
        encoded = stored = 0
        for name in encoders:
            dimension, slot = self.dimension(name), (self.recipe.encoders or {}).get(name)
            if dimension is None:
                return {}
            stored += (self.sizes.passages + n_queries) * FLOAT_BYTES * dimension
            if slot is None or slot.spec.stored_passages() is None:
                encoded += self.sizes.passages
            if slot is None or slot.spec.stored_queries() is None:
                encoded += n_queries
        if not stored:
            return {}
        return {"texts to encode at most": encoded, "bytes of embeddings at most": stored}
