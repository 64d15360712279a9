"""How embeddings become scores in recipekit's losses, for each similarity.

The score of a query q and a passage d, before it is divided by the temperature τ:

    cosine, dot    q·d
    euclidean      -|q - d|²/2  =  q·d - |d|²/2 - |q|²/2

The squared distance ranks as the distance does and is smooth where both vectors are equal. With
half of it, vectors of length 1 have the cosine less 1, so a temperature means the same for all
three: the softmax is that of Gaussians of variance τ around the passages.

A softmax over passages does not change if a number is added to all scores of a query, so
`PassageScores` leaves out |q|²/2: a matrix product and a number per passage are left. The numbers
are computed in the arithmetic of the scores (float32 or float64) from the rows as they are stored,
so a matrix in bfloat16 rounds the vectors, and not their distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recipekit.records import Similarity

__all__ = ["PassageScores", "add_offsets", "product", "score_matrix"]


def score_matrix(left: Tensor, right: Tensor, similarity: Similarity) -> Tensor:
    """Return the scores of all pairs, (n, dim) and (m, dim) to (n, m), differentiable in both."""
    products = left @ right.T
    if similarity != "euclidean":
        return products
    return products - (left.square().sum(1)[:, None] + right.square().sum(1)) / 2


@dataclass(frozen=True)
class PassageScores:
    """Scores of passages for queries that are already divided by the temperature.

    They are those of `score_matrix` divided by the temperature, plus a number for each query.
    """

    temperature: float
    similarity: Similarity

    def offsets(self, passages: Tensor, dtype: torch.dtype | None = None) -> Tensor | None:
        """Return -|d|²/2τ of each passage, `(m,)`; None if the score is the inner product.

        Args:
            passages: `(m, dim)`.
            dtype: The dtype to compute in; by default that of the passages, at least float32.
        """
        if self.similarity != "euclidean":
            return None
        dtype = dtype or torch.promote_types(passages.dtype, torch.float32)
        return passages.to(dtype).square().sum(1) / (-2 * self.temperature)

    def matrix(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Return the scores of all pairs, `(n, dim)` and `(m, dim)` to `(n, m)`.

        They are at least float32.
        """
        return add_offsets(queries, passages, self.offsets(passages))

    def pairs(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Return the scores pair by pair, `(m, dim)` and `(m, dim)` to `(m,)`."""
        products, offsets = (queries * passages).sum(1), self.offsets(passages)
        return products if offsets is None else products + offsets

    def summands(self, passages: Tensor) -> Tensor:
        """Return rows whose sum over passages gives `total` the sum of their scores.

        They are the passages, `(m, dim)`, with a column of offsets if there are any.
        """
        offsets = self.offsets(passages)
        return passages if offsets is None else torch.cat([passages, offsets[:, None]], 1)

    def total(self, queries: Tensor, sums: Tensor) -> Tensor:
        """Return each query's sum of scores, `(n,)`.

        Args:
            queries: `(n, dim)`.
            sums: For each query, the sum of the `summands` of its passages.
        """
        dim = queries.shape[1]
        return (queries * sums[:, :dim]).sum(1) + sums[:, dim:].sum(1)

    def passage_gradient(self, weights: Tensor, queries: Tensor, passages: Tensor) -> Tensor:
        """Return the gradient of Σ_ij w_ij s_ij with respect to the passages, `(m, dim)`.

        Args:
            weights: w, `(n, m)`, float32 or float64.
            queries: `(n, dim)`. In half precision, so is the product, whose sums are float32.
            passages: `(m, dim)`.
        """
        if queries.dtype == weights.dtype:
            gradient = weights.T @ queries
        else:  # the weights of a passage are rounded relative to the largest: most are tiny
            largest = weights.abs().amax(0).clamp(min=torch.finfo(weights.dtype).tiny)
            relative = (weights / largest).to(queries.dtype)
            gradient = product(relative.T, queries) * largest[:, None]
        if self.similarity == "euclidean":
            gradient -= weights.sum(0)[:, None] * passages / self.temperature
        return gradient


def add_offsets(queries: Tensor, passages: Tensor, offsets: Tensor | None) -> Tensor:
    """Return the inner products of all pairs plus the offset of each passage, `(n, m)`."""
    if offsets is None:
        return product(queries, passages.T)
    if queries.dtype != offsets.dtype:
        return product(queries, passages.T).add_(offsets)
    return torch.addmm(offsets, queries, passages.T)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return a matrix product, whose sums are float32 where the operands are half precision.

    A GPU multiplies two half-precision numbers exactly, and many times faster than two of float32.
    """
    if left.dtype not in (torch.float16, torch.bfloat16):
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
