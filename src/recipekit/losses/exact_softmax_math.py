"""The exact softmax: every query against the whole corpus, in one pass and one tile of memory.

`recipekit.losses.softmax_forms` has the notation and the three forms of the loss. Of the corpus,
each needs only the log-partition z_i over the passages that the form lets compete; the scores of
the positives are few.

One pass. Tiles of passages stream by, and each query keeps three running values: the peak
m = max s, the mass l = Σ e^{s - m} and the moment o = Σ e^{s - m} d. A tile that raises the peak to
m' first scales mass and moment by e^{m - m'}. At the end

    z_i = m + log l
    ∂z_i/∂q_i = (1/τ) Σ_j softmax(s_i)_j d_j = (1/τ) · o / l

so value and gradient come together: 2·B·N·d operations for the scores and 2·B·N·d for the moment.
Discarding the scores and recomputing them for the gradient would take 6·B·N·d operations; keeping
them would take memory for B·N numbers. (The running peak is the online softmax of arXiv 1805.02867;
with the moment it is flash-attention, arXiv 2205.14135, in which the passages are both keys and
values.) The rest is the chain rule over vectors (B,) and (positives,), which autograd applies:

    ∂L_i/∂q_i = (1/τ) (∂L_i/∂z_i · o / l + Σ_p ∂L_i/∂s_ip · d_p)

An ignored passage occurs in no term. Label smoothing needs one more value, the sum c_i = Σ d_j of
the passages in z_i, whose scores sum to S_i = q_i·c_i / τ.

Euclidean. `recipekit.losses.scores` has the score; it adds -|d_j|²/2τ to s_ij. This does not depend
on q_i, so nothing else changes, apart from S_i.

Half precision. On a GPU, the operands of the two products have the half precision in which the
passages are stored, and all sums are float32, as in flash-attention. The queries, divided by τ, are
rounded to it first, so z and the scores of the positives are exact for the rounded queries, whose
gradient is passed on as that of the queries. Only the weights e^{s - m} of the moment are rounded
once more.

Sharded. Each rank streams its slice of the passages for every rank's queries; m, l, o and c are
then reduced over the ranks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.scores import PassageScores, add_offsets, product
from recipekit.losses.softmax_forms import FORMS, FormName, Positives, Smoothing
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.component import TrainingLabels
    from recipekit.losses.passage_softmax import PassageSoftmax

__all__ = ["QUERIES_AT_A_TIME", "ExactSoftmax", "default_tile_size", "log_partition"]


@dataclass
class ExactSoftmax:
    """The loss that `ExactSoftmaxSpec` builds."""

    temperature: float
    form: FormName = "one_vs_negatives"
    label_smoothing: float = 0.0
    tile_size: int | None = None
    similarity: Similarity = "cosine"
    """How the encoder's vectors are compared: `cosine`, `dot` or `euclidean`."""

    @property
    def scores(self) -> PassageScores:
        """How queries divided by the temperature score passages."""
        return PassageScores(self.temperature, self.similarity)

    def __call__(self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix) -> Tensor:
        """Return the losses `(b,)` of this rank's queries, not averaged.

        They are float32, or float64 for float64 queries.

        Args:
            queries: Embeddings `(b, dim)` of this rank's queries.
            labels: Positives and ignored passages of every rank's queries, in rank order, on the
                queries' device.
            corpus: The frozen passages.

        Raises:
            ValueError: The labels are not those of as many queries.
        """
        # In bfloat16 a score near 20 is rounded to multiples of 1/8.
        with torch.autocast(queries.device.type, enabled=False):
            all_queries, own = corpus.gather(queries)
            if len(labels) != len(all_queries):
                raise ValueError(f"labels of {len(labels)} queries for {len(all_queries)} queries")
            return self._losses(all_queries, labels, corpus)[own]

    def _losses(self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix) -> Tensor:
        """Return L_i of all queries, `(n,)`."""
        z, positives, smoothing = self.partition(queries, labels, corpus)
        return FORMS[self.form].losses(z, positives, smoothing)

    def partition(
        self, queries: Tensor, labels: CorpusLabels, corpus: FrozenMatrix
    ) -> tuple[Tensor, Positives, Smoothing | None]:
        """Compute what the loss needs of the corpus, differentiable in the queries.

        Args:
            queries: Embeddings `(n, dim)`, the same on every rank.
            labels: Their positives and ignored passages.
            corpus: The passages.

        Returns:
            The log-partitions `(n,)`, the positives with their scores, and what label smoothing
            needs, or None without it.
        """
        exact = torch.float64 if queries.dtype == torch.float64 else torch.float32
        scores = self.scores
        queries = queries.to(exact) / self.temperature  # as `scores` takes them
        operands = operand_dtype(queries, corpus)
        if operands != exact:  # rounded, with the gradient of the queries before
            queries = queries + (queries.to(operands).to(exact) - queries).detach()
        masked = _masked_pairs(labels, with_positives=not FORMS[self.form].positives_compete)
        tile_size = self.tile_size or default_tile_size(queries.device)
        smooths = self.label_smoothing > 0
        z, c = log_partition(queries, corpus, masked, scores, tile_size, operands, sums=smooths)

        query = labels.positive_queries
        passages = corpus.rows(labels.positive_rows, like=queries)
        score = scores.pairs(queries[query], passages)
        positives = Positives(query, labels.positive_weights.to(exact), score)
        if c is None:
            return z, positives, None
        allowed = corpus.total - torch.bincount(masked[0], minlength=len(queries))
        return z, positives, Smoothing(self.label_smoothing, scores.total(queries, c), allowed)

    def over_passages(
        self, queries: FrozenMatrix, passages: FrozenMatrix, labels: TrainingLabels
    ) -> PassageSoftmax:
        """Return the loss as a function of passages, with the queries frozen.

        Args:
            queries: The training queries, (n, dim), frozen.
            passages: All passages, (N, dim). Its memory is written to: it must be this phase's own.
            labels: The labels of the training queries.
        """
        from recipekit.losses.passage_softmax import PassageSoftmax

        return PassageSoftmax(self, queries, passages, labels)


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


def _masked_pairs(labels: CorpusLabels, *, with_positives: bool) -> MaskedPairs:
    query, passage = labels.ignored_queries, labels.ignored_rows
    if with_positives:
        query = torch.cat([query, labels.positive_queries])
        passage = torch.cat([passage, labels.positive_rows])
    order = passage.argsort()
    return query[order], passage[order]


def default_tile_size(device: torch.device) -> int:
    """Passages per tile: their scores fit a CPU's cache, or keep a GPU busy."""
    return 4096 if device.type == "cpu" else 65536


HAS_MIXED_PRODUCT = hasattr(torch.ops.aten.mm, "dtype")
"""Whether torch multiplies half-precision matrices on a GPU with a float32 result (from 2.8)."""


def operand_dtype(queries: Tensor, corpus: FrozenMatrix) -> torch.dtype:
    """Return the dtype of the operands of products: half precision on a GPU that stores it.

    It is that of the queries where passages are scaled after they are read.
    """
    stored = corpus.matrix.dtype
    is_half = stored in (torch.float16, torch.bfloat16) and queries.dtype == torch.float32
    if is_half and queries.is_cuda and HAS_MIXED_PRODUCT and not corpus.normalized:
        return stored
    return queries.dtype


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
