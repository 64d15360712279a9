"""How vectors are compared: the four similarities, for pairs and for tiles of a matrix."""

from __future__ import annotations

import numpy as np
import torch

from recipekit.arrays import Floats
from recipekit.records import Similarity

__all__ = ["pair_scores", "tile_scores"]


def pair_scores(left: Floats, right: Floats, similarity: Similarity) -> Floats:
    """Compare vectors pair by pair: float32 (..., dim) and (..., dim) to (...).

    einsum without optimize sums each pair in one loop over dim, so a score depends on its two
    vectors alone. BLAS would use an order that depends on the shape.
    """
    if similarity in ("cosine", "dot"):
        return np.asarray(np.einsum("...d,...d->...", left, right, optimize=False))
    difference = left - right
    if similarity == "euclidean":
        squared = np.einsum("...d,...d->...", difference, difference, optimize=False)
        return np.asarray(-np.sqrt(squared))
    ones = np.ones(difference.shape[-1], dtype=difference.dtype)
    return np.asarray(-np.einsum("...d,d->...", np.abs(difference), ones, optimize=False))


def tile_scores(
    queries: torch.Tensor, passages: torch.Tensor, similarity: Similarity
) -> torch.Tensor:
    """Compare every query with every passage of a tile, (n, dim) and (t, dim) to (n, t).

    The scores rank a query's passages as `pair_scores` does. For `euclidean` they are
    `q·d - |d|² / 2`, which ranks like the negated distance and is one matrix product.
    """
    if similarity == "manhattan":
        return -torch.cdist(queries, passages, p=1.0)
    products = queries @ passages.T
    if similarity == "euclidean":
        products -= passages.square().sum(dim=1) / 2
    return products
