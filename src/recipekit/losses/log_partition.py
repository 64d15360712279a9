"""The log-partition of a softmax over the corpus, in one pass and one tile of memory.

Tiles of passages stream by, and each query keeps three running values: the peak m = max s, the
mass l = Σ e^{s - m} and the moment o = Σ e^{s - m} d. A tile that raises the peak to m' first
scales mass and moment by e^{m - m'}. At the end

    z_i = m + log l
    ∂z_i/∂q_i = (1/τ) Σ_j softmax(s_i)_j d_j = (1/τ) · o / l

so value and gradient come together: 2·B·N·d operations for the scores and 2·B·N·d for the moment.
Discarding the scores and recomputing them for the gradient would take 6·B·N·d operations; keeping
them would take memory for B·N numbers. (The running peak is the online softmax of arXiv 1805.02867;
with the moment it is flash-attention, arXiv 2205.14135, in which the passages are both keys and
values.)

Sharded. Each rank streams its slice of the passages for every rank's queries; m, l, o and the sums
are then reduced over the ranks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.scores import PassageScores, add_offsets, product

__all__ = ["QUERIES_AT_A_TIME", "MaskedPairs", "default_tile_size", "log_partition"]

QUERIES_AT_A_TIME = 4096
"""Frozen queries that are scored at a time, where all of them are. On a GPU their scores over one
tile of passages take 1 GiB."""

_BACKEND = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
COMPILER = None if _BACKEND == "no" else _BACKEND
"""The backend of `torch.compile` for the work on a tile, from Accelerate's configuration.

None does not compile it.
"""

MaskedPairs = tuple[Tensor, Tensor]
"""Query and passage of the pairs to leave out, int64 (m,) each, by ascending passage, so that the
pairs of a tile are adjacent."""


def default_tile_size(device: torch.device) -> int:
    """Passages per tile: their scores fit a CPU's cache, or keep a GPU busy."""
    return 4096 if device.type == "cpu" else 65536


def log_partition(
    queries: Tensor,
    corpus: FrozenMatrix,
    masked: MaskedPairs,
    scores: PassageScores,
    tile_size: int,
    operands: torch.dtype | None = None,
    *,
    sums: bool = False,
    left_out: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Compute log Σ_j e^{s_ij} over the passages that are not masked.

    Args:
        queries: `(n, dim)`, float32 or float64, already divided by the temperature; the same on
            every rank.
        corpus: The frozen passages.
        masked: The pairs to leave out.
        scores: How passages are scored.
        tile_size: Passages to score at a time.
        operands: The dtype of the operands of products, to which the queries are rounded already;
            None for that of the queries.
        sums: Whether to sum the passages that are not masked.
        left_out: Passages that are masked for every query, int64 (m,). The sums include them.

    Returns:
        The log-partition `(n,)`, differentiable in the queries, -∞ for a query whose passages are
        all masked; and for each query the sum of `scores.summands` over the passages that are not
        masked, or None.
    """
    kind = operands or queries.dtype
    z, c = _LogPartition.apply(queries, corpus, masked, scores, tile_size, kind, sums, left_out)
    return z, c


class _LogPartition(torch.autograd.Function):
    """z, with a gradient computed in the forward pass, and c, a constant."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        corpus: FrozenMatrix,
        masked: MaskedPairs,
        scores: PassageScores,
        tile_size: int,
        operands: torch.dtype,
        sums: bool,
        left_out: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        local_peak, mass, moment, total = _stream(
            queries.detach(),
            corpus,
            masked,
            scores,
            tile_size,
            operands,
            gradient=ctx.needs_input_grad[0],
            sums=sums,
            left_out=left_out,
        )
        peak = corpus.max(local_peak)
        shrink = torch.exp(local_peak - peak)
        mass = corpus.sum(mass * shrink)
        if moment is not None:
            # The mass is 0 where everything is masked, and otherwise at least 1, the peak's term.
            ctx.save_for_backward(corpus.sum(moment * shrink[:, None]) / mass.clamp(min=1)[:, None])
        if total is not None:
            total = corpus.sum(total)
            ctx.mark_non_differentiable(total)
        return peak + torch.log(mass), total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_total: Tensor | None) -> tuple[Tensor | None, ...]:
        (mean,) = ctx.saved_tensors
        return grad_z[:, None] * mean, None, None, None, None, None, None, None


def _stream(
    queries: Tensor,
    corpus: FrozenMatrix,
    masked: MaskedPairs,
    scores: PassageScores,
    tile_size: int,
    operands: torch.dtype,
    *,
    gradient: bool,
    sums: bool,
    left_out: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Stream over this rank's slice.

    Returns:
        Peak and mass `(n,)`; moment `(n, dim)` if `gradient`; the sums of the passages' summands if
        `sums`.
    """
    # The peak starts finite, so that a row that is masked entirely gives e^(-∞ - peak) = 0, not
    # e^(-∞ + ∞) = NaN.
    peak = queries.new_full((len(queries),), torch.finfo(queries.dtype).min)
    mass = torch.zeros_like(peak)
    moment = torch.zeros_like(queries) if gradient else None
    total: Tensor | None = None
    if sums:
        total = queries.new_zeros(len(queries), scores.summands(queries[:0]).shape[1])
    masked_query, local = masked[0], masked[1] - corpus.start
    bounds = [*range(0, len(corpus.matrix), tile_size), len(corpus.matrix)]
    cuts = torch.searchsorted(local, torch.tensor(bounds, device=local.device)).tolist()

    excluded = None if left_out is None else _excluded(left_out, corpus, queries)
    add_tile = _add_tile if COMPILER is None else compiled_tile(COMPILER)
    left = queries.to(operands)
    for (first, last), (low, high) in zip(pairwise(bounds), pairwise(cuts), strict=True):
        tile = corpus.tile(first, last, like=left)  # (t, dim)
        row, column = masked_query[low:high], local[low:high] - first
        offsets = scores.offsets(tile, queries.dtype)
        if excluded is not None:
            own = excluded[first:last]
            offsets = own if offsets is None else own + offsets
        peak = add_tile(left, tile, offsets, row, column, peak, mass, moment)
        if total is not None:
            summands = scores.summands(tile.to(queries.dtype))
            total += _allowed_sum(summands, row, column, len(queries))
    return peak, mass, moment, total


def _excluded(passages: Tensor, corpus: FrozenMatrix, like: Tensor) -> Tensor:
    """Return offsets that remove passages from this rank's slice, 0 or -∞ each, (n_local,)."""
    is_held = (passages >= corpus.start) & (passages < corpus.stop)
    added = like.new_zeros(len(corpus.matrix))
    return added.index_fill(0, passages[is_held] - corpus.start, -torch.inf)


def _add_tile(
    queries: Tensor,
    tile: Tensor,
    offsets: Tensor | None,
    row: Tensor,
    column: Tensor,
    peak: Tensor,
    mass: Tensor,
    moment: Tensor | None,
) -> Tensor:
    """Add a tile to mass and moment, leaving out the pairs (row, column); return the new peak."""
    scores = add_offsets(queries, tile, offsets)  # (n, t)
    scores[row, column] = -torch.inf
    new_peak = torch.maximum(peak, scores.amax(1))
    shrink = torch.exp(peak - new_peak)
    exponentials = scores.sub_(new_peak[:, None]).exp_()
    mass.mul_(shrink).add_(exponentials.sum(1))
    if moment is not None:
        moment.mul_(shrink[:, None]).add_(product(exponentials.to(tile.dtype), tile))
    return new_peak


@cache
def compiled_tile(backend: str) -> Callable[..., Tensor]:
    """Return `_add_tile` compiled for any number of queries, passages and masked pairs."""
    return torch.compile(_add_tile, dynamic=True, backend=backend)


def _allowed_sum(tile: Tensor, row: Tensor, column: Tensor, n: int) -> Tensor:
    """Sum a tile's rows per query, `(n, dim)`, leaving out the masked pairs (row, column).

    Passages that no query masks have one sum for all queries; only the few that some query masks
    are summed per query. Subtracting the masked passages from the sum of all would be shorter, but
    would leave a trace of them in the rounding.
    """
    some_mask, which = torch.unique(column, return_inverse=True)
    none_masks = tile.new_ones(len(tile))
    none_masks[some_mask] = 0
    allowed = tile.new_ones(n, len(some_mask))
    allowed[row, which] = 0
    return none_masks @ tile + allowed @ tile[some_mask]
