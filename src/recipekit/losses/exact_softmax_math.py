"""The exact softmax: every query against the whole corpus, in one pass over it, in the memory of
one tile.

Notation. q_i is a query that is trained, d_j a frozen passage, s_ij = q_i·d_j / τ. Of query i, P_i
are the positives, with weights w_ip that sum to 1, M_i the ignored passages, and N_i = corpus - P_i
- M_i the negatives, n_i of them. Two forms:

    one-vs-negatives    L_i = Σ_{p∈P_i} w_ip · log(1 + e^{z_i - s_ip})     z_i = log Σ_{j∈N_i}
    e^{s_ij}     positives never compete soft-label          L_i = Σ_{p∈P_i} w_ip · (z_i - s_ip)
    z_i = log Σ_{j∉M_i} e^{s_ij}     positives compete

Of the corpus both need nothing but the log-partition z_i, over the passages that the form allows;
the positives' scores are few.

One pass. Tiles of passages stream by, and three running figures are kept per query: the peak m =
max s, the mass l = Σ e^{s - m} and the moment o = Σ e^{s - m} d. A tile that raises the peak to m'
first scales mass and moment by e^{m - m'}. In the end

    z_i = m + log l          and          ∂z_i/∂q_i = (1/τ) Σ_j softmax(s_i)_j d_j = (1/τ) · o / l

so value and gradient come together: 2·B·N·d operations for the scores, 2·B·N·d for the moment.
Forgetting the scores and computing them anew for the gradient would take 6·B·N·d; remembering them,
the memory of B·N. (The running peak is the online softmax of arXiv 1805.02867; with the moment it
is flash-attention, arXiv 2205.14135, in which the passages are both keys and values.) What is left
is the chain rule over vectors (B,) and (positives,), which autograd does:

    one-vs-negatives    ∂L_i/∂z_i = Σ_p w_ip sigmoid(z_i - s_ip)     ∂L_i/∂s_ip = -w_ip sigmoid(z_i
    - s_ip) soft-label          ∂L_i/∂z_i = 1                                ∂L_i/∂s_ip = -w_ip

so that ∂L_i/∂q_i = (1/τ) (∂L_i/∂z_i · o / l + Σ_p ∂L_i/∂s_ip · d_p), and an ignored passage is in
none of it.

Label smoothing moves a share ε of the target from the positive to the uniform distribution over all
that is in its softmax: {p} and N_i for the term of p in one-vs-negatives, corpus - M_i in
soft-label. It is `cross_entropy(label_smoothing=ε)` of that softmax, and needs one figure more, the
sum c_i = Σ d_j of the allowed passages, whose scores sum to S_i = q_i·c_i / τ. To L_i is added

    one-vs-negatives    Σ_p w_ip · ε · (n_i · s_ip - S_i) / (n_i + 1)
    soft-label          Σ_p w_ip · ε · (s_ip - S_i / |corpus - M_i|)

Edges. Without a positive there is no term: zero loss, zero gradient. Without a negative z_i = -∞:
zero loss and gradient again.

Sharded. Each rank streams its slice of the passages for every rank's queries; m, l, o and c are
then joined over the ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recipekit.losses.label_rows import FrozenMatrix, LabelRows
from recipekit.records import Side

__all__ = ["ExactSoftmax", "Pairs", "log_partition"]


@dataclass
class ExactSoftmax:
    """The loss that `ExactSoftmaxSpec` declares."""

    temperature: float
    form: Literal["one_vs_negatives", "soft_label"] = "one_vs_negatives"
    label_smoothing: float = 0.0
    weights: Literal["uniform", "grade"] = "uniform"
    """What `LabelRows.positive_weights` are to be made from: ones, or grades."""
    tile_size: int | None = None
    frozen: Side | None = field(default="passage", init=False)
    negatives: int = field(default=0, init=False)

    def __call__(self, queries: Tensor, labels: LabelRows, frozen: FrozenMatrix) -> Tensor:
        """Per-query losses `(b,)` of this rank's queries, in float32 (float64 for float64 queries).

        Args:
            queries: Embeddings `(b, dim)` of this rank's queries.
            labels: Their positives and ignored passages; over several ranks those of every rank's
                queries, in rank order.
            frozen: The passages.
        """
        # In bfloat16 a score near 20 is rounded to multiples of 1/8.
        with torch.autocast(queries.device.type, enabled=False):
            everyone, own = frozen.gather(queries)
            if len(labels) != len(everyone):
                raise ValueError(f"labels of {len(labels)} queries for {len(everyone)} queries")
            return self._losses(everyone, labels.to(queries.device), frozen)[own]

    def _losses(self, queries: Tensor, labels: LabelRows, frozen: FrozenMatrix) -> Tensor:
        """L_i of all queries, `(n,)`."""
        exact = torch.float64 if queries.dtype == torch.float64 else torch.float32
        queries = queries.to(exact) / self.temperature  # s_ij = queries_i · d_j from here on
        form = _FORMS[self.form]
        masked = _ignored(labels) if form.positives_compete else _ignored_and_positives(labels)
        z, c = log_partition(
            queries,
            frozen,
            masked,
            self.tile_size or _tile_size(queries.device),
            sums=self.label_smoothing > 0,
        )

        query, weight = labels.positive_queries, labels.positive_weights.to(exact)
        s = (queries[query] * frozen.rows(labels.positive_rows, like=queries)).sum(
            1
        )  # (positives,)
        terms = form.term(z[query], s)
        if c is not None:
            allowed = frozen.total - torch.bincount(masked.query, minlength=len(queries))
            terms = terms + self.label_smoothing * form.above_mean(
                s, (queries * c).sum(1)[query], allowed[query]
            )
        return z.new_zeros(len(queries)).index_add(0, query, weight * terms)


@dataclass(frozen=True)
class _Form:
    """What a positive competes with, and what it adds to the loss, given its score s."""

    positives_compete: bool
    term: Callable[[Tensor, Tensor], Tensor]
    """From the log-partition z and s."""
    above_mean: Callable[[Tensor, Tensor, Tensor], Tensor]
    """s less the mean score of its softmax, from s, and the sum and number of the passages in z:
    what a unit of label smoothing adds.
    """


_FORMS = {
    "one_vs_negatives": _Form(
        positives_compete=False,
        # Not softplus, which switches to the identity above 20.
        term=lambda z, s: torch.logaddexp(z - s, torch.zeros_like(s)),
        above_mean=lambda s, total, n: (n * s - total) / (n + 1),
    ),
    "soft_label": _Form(
        positives_compete=True,
        term=lambda z, s: z - s,
        above_mean=lambda s, total, n: s - total / n,
    ),
}


@dataclass(frozen=True)
class Pairs:
    """(query, passage) pairs, int64 `(m,)` each, by ascending passage, so that the pairs of a tile
    stand together.
    """

    query: Tensor
    passage: Tensor

    @classmethod
    def sort(cls, query: Tensor, passage: Tensor) -> Pairs:
        """Pairs from any order."""
        order = passage.argsort()
        return cls(query[order], passage[order])


def _ignored(labels: LabelRows) -> Pairs:
    return Pairs.sort(labels.ignored_queries, labels.ignored_rows)


def _ignored_and_positives(labels: LabelRows) -> Pairs:
    return Pairs.sort(
        torch.cat([labels.ignored_queries, labels.positive_queries]),
        torch.cat([labels.ignored_rows, labels.positive_rows]),
    )


def _tile_size(device: torch.device) -> int:
    """Passages per tile: few enough for a CPU's cache to keep their scores, many enough for a GPU
    to be busy.
    """
    return 4096 if device.type == "cpu" else 65536


def log_partition(
    queries: Tensor, frozen: FrozenMatrix, masked: Pairs, tile_size: int, *, sums: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The log-partition, log Σ_j e^{q_i·d_j} over the passages not masked, `(n,)`, differentiable
    in the queries; -∞ where there are none.

    Args:
        queries: `(n, dim)`, float32 or float64, already divided by the temperature; over several
            ranks the same on each.
        frozen: The passages.
        masked: The pairs to leave out.
        tile_size: Passages to score at a time.
        sums: Also return Σ_j d_j over the passages that are not masked, `(n, dim)`, else None in
            its place.
    """
    z, c = _LogPartition.apply(queries, frozen, masked, tile_size, sums)
    return z, c


class _LogPartition(torch.autograd.Function):
    """z, which brings its own gradient, and c, a constant."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, frozen: FrozenMatrix, masked: Pairs, tile_size: int, sums: bool
    ) -> tuple[Tensor, Tensor | None]:
        local_peak, mass, moment, total = _stream(
            queries, frozen, masked, tile_size, gradient=ctx.needs_input_grad[0], sums=sums
        )
        peak = frozen.max(local_peak)
        shrink = torch.exp(local_peak - peak)
        mass = frozen.sum(mass * shrink)
        if moment is not None:
            # The mass is 0 where all is masked, and else at least 1: the peak's own term.
            ctx.save_for_backward(frozen.sum(moment * shrink[:, None]) / mass.clamp(min=1)[:, None])
        if total is not None:
            total = frozen.sum(total)
            ctx.mark_non_differentiable(total)
        return peak + torch.log(mass), total

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_z: Tensor, grad_total: Tensor | None
    ) -> tuple[Tensor, None, None, None, None]:
        (mean,) = ctx.saved_tensors
        return grad_z[:, None] * mean, None, None, None, None


def _stream(
    queries: Tensor,
    frozen: FrozenMatrix,
    masked: Pairs,
    tile_size: int,
    *,
    gradient: bool,
    sums: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Peak and mass `(n,)`, moment and sum `(n, dim)`, over this rank's slice; the moment for a
    gradient only, the sum if asked for.
    """
    # The peak starts finite, so that a row masked as a whole gives e^(-∞ - peak) = 0, and not e^(-∞
    # + ∞) = NaN.
    peak = queries.new_full((len(queries),), torch.finfo(queries.dtype).min)
    mass = torch.zeros_like(peak)
    moment = torch.zeros_like(queries) if gradient else None
    total = torch.zeros_like(queries) if sums else None
    local = masked.passage - frozen.start
    bounds = [*range(0, len(frozen.matrix), tile_size), len(frozen.matrix)]
    cuts = torch.searchsorted(local, torch.tensor(bounds, device=local.device)).tolist()

    for (first, last), (low, high) in zip(pairwise(bounds), pairwise(cuts), strict=True):
        tile = frozen.matrix[first:last].to(queries)  # (t, dim)
        row, column = masked.query[low:high], local[low:high] - first
        scores = queries @ tile.T  # (n, t)
        scores[row, column] = -torch.inf
        previous, peak = peak, torch.maximum(peak, scores.amax(1))
        shrink = torch.exp(previous - peak)
        exponentials = scores.sub_(peak[:, None]).exp_()
        mass.mul_(shrink).add_(exponentials.sum(1))
        if moment is not None:
            moment.mul_(shrink[:, None]).add_(exponentials @ tile)
        if total is not None:
            total += _allowed_sum(tile, row, column, len(queries))
    return peak, mass, moment, total


def _allowed_sum(tile: Tensor, row: Tensor, column: Tensor, n: int) -> Tensor:
    """Per query the sum of a tile's passages but for its masked ones, `(n, dim)`, where (row,
    column) are masked.

    Passages that no query masks have one sum for all queries; only the few that some query masks
    are summed per query. Subtracting the masked from the sum of all would be shorter, but leave a
    trace of them in the rounding.
    """
    some_mask, which = torch.unique(column, return_inverse=True)
    none_masks = tile.new_ones(len(tile))
    none_masks[some_mask] = 0
    allowed = tile.new_ones(n, len(some_mask))
    allowed[row, which] = 0
    return none_masks @ tile + allowed @ tile[some_mask]
