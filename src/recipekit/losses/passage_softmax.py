"""The exact softmax as a function of the passages, with all queries frozen.

`recipekit.losses.softmax_forms` has the notation. A block b of passages is embedded again, and the
log-partition of every query changes by what the block contributes. With b' the part of b that
competes for query i,

    z_i^rest = log(e^{z_i} - Σ_{j∈b'} e^{s_ij(old)}) = z_i + log1p(-e^{y_i - z_i})
    y_i = log Σ_{j∈b'} e^{s_ij(old)}
    z_i      = log(e^{z_i^rest} + Σ_{j∈b'} e^{s_ij(new)})

The loss of *every* query depends on the block through z_i, and that of the block's positives
through their scores too; the scores of other positives are cached. With q_i divided by τ,

    ∂L/∂d_j = Σ_i (∂L/∂z_i · e^{s_ij - z_i} [j∈b'] + ∂L/∂s_ij [j∈P_i]) q_i

(with q_i - d_j/τ in place of q_i if the similarity is euclidean: see `recipekit.losses.scores`)
takes 6·n·|b|·d operations: old scores, new scores and the gradient. On a GPU their operands have
half precision where the passages do, as in `recipekit.losses.exact_softmax_math`: what is
subtracted from a partition is what was added to it. Memory: the two matrices, one log-partition per
query, one score per positive pair, and a tile of scores.

Where a block holds nearly all of a partition, the subtraction leaves rounding errors. For those few
queries z_i^rest is computed from all passages outside the block. At most one passage can be that
heavy for a query, so over an epoch this adds at most 2·n·N·d operations to 6·n·N·d.

Label smoothing caches S_i, the sum of the scores in z_i, in the same way as z_i.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recipekit.arrays import Rows
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import operand_dtype
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.log_partition import QUERIES_AT_A_TIME, default_tile_size, log_partition
from recipekit.losses.pairs_by_passage import BlockPairs, PairsByPassage
from recipekit.losses.rank_files import read_rows, write_rows
from recipekit.losses.softmax_forms import FORMS, Positives, Smoothing

if TYPE_CHECKING:
    from recipekit.component import TrainingLabels
    from recipekit.losses.exact_softmax_math import ExactSoftmax

__all__ = ["PassageSoftmax"]

HEAVY_SHARE = 0.99
"""Share of a partition above which the rest is computed from all other passages. In float32 a rest
of a hundredth, found by subtraction, is known to about 0.02 %."""


class PassageSoftmax:
    """The mean loss of n frozen queries, seen from blocks of passages.

    Each rank holds a slice of the queries with their log-partitions, and a slice of the passages.
    All methods are collective.
    """

    def __init__(
        self,
        loss: ExactSoftmax,
        queries: FrozenMatrix,
        passages: FrozenMatrix,
        labels: TrainingLabels,
    ) -> None:
        """Prepare; `compute` or `load` must follow.

        Args:
            loss: Temperature, similarity, form, label smoothing and tile size.
            queries: The training queries, (n, dim).
            passages: All passages, (N, dim); `update` writes to its memory.
            labels: The labels of the training queries.
        """
        self.loss, self.form, self.labels = loss, FORMS[loss.form], labels
        self.scoring = loss.scores
        self.queries, self.passages = queries, passages
        self.exact = torch.float64 if queries.matrix.dtype == torch.float64 else torch.float32
        self.operands = operand_dtype(queries.matrix[:0].to(self.exact), passages)
        self.tile_size = loss.tile_size or default_tile_size(queries.matrix.device)
        own = np.arange(queries.start, queries.stop)
        self.pairs = PairsByPassage.of(labels, own, passages.total)
        competing = self.form.positives_compete
        masked = self.pairs.masked_counts(competing=competing)
        self.allowed = passages.total - torch.from_numpy(masked).to(queries.matrix.device)
        self.z: Tensor
        """Log-partitions of this rank's queries, (n_own,)."""
        self.scores: Tensor
        """Scores of their positive pairs, by query."""
        self.totals: Tensor | None = None
        """With label smoothing, the sum of the scores in z, (n_own,)."""

    def compute(self) -> None:
        """Compute the log-partition of every query, in one pass over the passages."""
        z, scores, totals = [], [], []
        labels, device = self.labels, self.queries.matrix.device
        for first in range(0, self.queries.total, QUERIES_AT_A_TIME):
            rows = np.arange(first, min(first + QUERIES_AT_A_TIME, self.queries.total))
            like = torch.empty(0, dtype=self.exact, device=device)
            queries = self.queries.rows(torch.from_numpy(rows).to(device), like)
            targets = CorpusLabels.of_queries(labels, rows, device)
            with torch.no_grad():
                tile_z, positives, smoothing = self.loss.partition(queries, targets, self.passages)
            local = slice(max(self.queries.start - first, 0), max(self.queries.stop - first, 0))
            is_own = (positives.query >= local.start) & (positives.query < local.stop)
            z.append(tile_z[local])
            scores.append(positives.score[is_own])
            if smoothing is not None:
                totals.append(smoothing.total[local])
        self.z, self.scores = torch.cat(z), torch.cat(scores)
        self.totals = torch.cat(totals) if totals else None

    def save(self, folder: Path) -> None:
        """Write this rank's passages, log-partitions and scores into a folder."""
        tensors = {"passages": self.passages.matrix, "z": self.z, "scores": self.scores}
        if self.totals is not None:
            tensors["totals"] = self.totals
        write_rows(folder, self.queries.ranks, tensors)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, on the same or another number of ranks."""
        queries, passages = self.queries, self.passages
        device, offsets = queries.matrix.device, self.labels.positive.offsets
        passages.matrix.copy_(read_rows(folder, "passages", passages.start, passages.stop))
        first, last = int(offsets[queries.start]), int(offsets[queries.stop])
        self.scores = read_rows(folder, "scores", first, last).to(device)
        self.z = read_rows(folder, "z", queries.start, queries.stop).to(device)
        if self.loss.label_smoothing > 0:
            totals = read_rows(folder, "totals", queries.start, queries.stop)
            self.totals = totals.to(device)

    def block(self, rows: Rows, embeddings: Tensor, *, update: bool) -> tuple[Tensor, Tensor]:
        """Compute the mean loss and its gradient with respect to a block of passages.

        Args:
            rows: The block's passages, without duplicates, (b,).
            embeddings: Their new embeddings, (b, dim), the same on every rank. They are rounded to
                the dtype of the matrix before they are scored, so that what is cached is what was
                scored.
            update: Whether the block's embeddings, scores and partitions replace the cached ones.

        Returns:
            This rank's part of the mean loss over all n queries, and the gradient of the whole
            mean loss, (b, dim).
        """
        device = self.queries.matrix.device
        at = torch.from_numpy(rows).to(device)
        rounded = embeddings.detach().to(self.passages.matrix.dtype)
        new = rounded.to(self.operands)
        old = self.passages.rows(at, like=new)
        pairs = self.pairs.in_block(rows, device)
        before = self._contribution(old, pairs)
        rest = self._rest(rows, before)
        gradient = torch.zeros_like(new, dtype=self.exact)
        loss_sum = gradient.new_zeros(())
        z, scores = torch.empty_like(self.z), torch.empty_like(self.scores)
        totals = None if self.totals is None else torch.empty_like(self.totals)
        for first, last in self._tiles():
            tile = self._tile(first, last, new, pairs, rest, before)
            gradient += tile.gradient
            loss_sum += tile.loss
            z[first:last] = tile.z
            scores[tile.positives] = tile.scores
            if totals is not None and tile.totals is not None:
                totals[first:last] = tile.totals
        if update:
            # All or nothing: a step that runs out of memory is repeated, and must find partitions
            # that are those of the matrix.
            self.passages.replace_rows(at, rounded)
            self.z, self.scores, self.totals = z, scores, totals
        n = max(1, self.queries.total)
        return loss_sum / n, self.queries.sum(gradient) / n

    def _tiles(self) -> Iterator[tuple[int, int]]:
        return pairwise([*range(0, len(self.z), self.tile_size), len(self.z)])

    def _scaled(self, first: int, last: int) -> Tensor:
        """Return a tile of this rank's queries as operands of scores, (last - first, dim)."""
        queries = self.queries.matrix[first:last].to(self.exact)
        return self.loss.scaled(queries, self.passages).to(self.operands)

    def _contribution(self, old: Tensor, pairs: BlockPairs) -> _Contribution:
        """Compute what a block's present embeddings add to the partitions and sums."""
        partition, total = torch.empty_like(self.z), None
        count = torch.empty_like(self.allowed)
        if self.totals is not None:
            total = torch.empty_like(self.totals)
        for first, last in self._tiles():
            scores = self.scoring.matrix(self._scaled(first, last), old)
            masked = pairs.masked(first, last, competing=self.form.positives_compete)
            count[first:last] = len(old) - torch.bincount(masked[0], minlength=last - first)
            if total is not None:
                total[first:last] = scores.index_put(masked, scores.new_zeros(())).sum(1)
            scores[masked] = -torch.inf
            partition[first:last] = scores.logsumexp(1)
        return _Contribution(partition, count, total)

    def _rest(self, rows: Rows, before: _Contribution) -> Tensor:
        """Return z^rest of this rank's queries: the log-partition without the block, (n_own,)."""
        share = torch.exp((before.partition - self.z).clamp(max=0.0))
        is_all = (before.count == self.allowed) | self.z.isneginf()
        rest = torch.where(is_all, -torch.inf, self.z + torch.log1p(-share))
        heavy = torch.nonzero((share > HEAVY_SHARE) & ~is_all).flatten()
        parts = self.queries.ranks.gather(heavy + self.queries.start)
        queries = torch.cat(parts)
        if len(queries):
            few = torch.split(queries, QUERIES_AT_A_TIME)
            exact = torch.cat([self._partitions_without(some, rows) for some in few])
            start = sum(len(part) for part in parts[: self.queries.ranks.rank])
            rest[heavy] = exact[start : start + len(heavy)]
        return rest

    def _partitions_without(self, queries: Tensor, rows: Rows) -> Tensor:
        """Compute log-partitions over all passages but some.

        Args:
            queries: Training queries, the same on every rank, int64 (k,).
            rows: The passages to leave out.

        Returns:
            The log-partitions, (k,).
        """
        like = torch.empty(0, dtype=self.exact, device=queries.device)
        vectors = self.loss.scaled(self.queries.rows(queries, like), self.passages)
        numbers = queries.cpu().numpy()
        leave_out = [self.labels.ignored.take(numbers)]
        if not self.form.positives_compete:
            leave_out.append(self.labels.positive.take(numbers))
        columns = [pairs.passage for pairs in leave_out], [pairs.query for pairs in leave_out]
        passage, query = (
            torch.from_numpy(np.concatenate(parts).astype(np.int64)).to(queries.device)
            for parts in columns
        )
        order = passage.argsort()
        masked = (query[order], passage[order])
        block = torch.from_numpy(rows).to(queries.device)
        with torch.no_grad():
            z, _ = log_partition(
                vectors,
                self.passages,
                masked,
                self.scoring,
                self.tile_size,
                self.operands,
                left_out=block,
            )
        return z

    def _tile(
        self,
        first: int,
        last: int,
        new: Tensor,
        pairs: BlockPairs,
        rest: Tensor,
        before: _Contribution,
    ) -> _Tile:
        """Compute the part of one tile of queries."""
        queries = self._scaled(first, last)  # (t, dim)
        new_scores = self.scoring.matrix(queries, new)  # (t, b)
        row, column, pair = pairs.positives(first, last)
        offsets = self.pairs.first_positive
        positives = slice(int(offsets[first]), int(offsets[last]))
        scores = self.scores[positives].clone()
        scores[pair - positives.start] = new_scores[row, column]

        masked = pairs.masked(first, last, competing=self.form.positives_compete)
        totals = None
        if self.totals is not None and before.total is not None:
            added = new_scores.index_put(masked, new_scores.new_zeros(())).sum(1)
            totals = self.totals[first:last] - before.total[first:last] + added
        new_scores[masked] = -torch.inf
        z = torch.logaddexp(rest[first:last], new_scores.logsumexp(1))
        loss, by_z, by_score, by_total = self._derivatives(first, last, z, scores, totals)

        # A row whose z is -∞ has no score but -∞: its share is exp(-∞ - 0) = 0.
        shares = new_scores.sub_(z.masked_fill(z.isneginf(), 0.0)[:, None]).exp_()
        weights = shares.mul_(by_z[:, None])
        if by_total is not None:
            weights += by_total[:, None]
            weights[masked] = 0.0
        weights[row, column] += by_score[pair - positives.start]
        gradient = self.scoring.passage_gradient(weights, queries, new)
        return _Tile(loss, gradient, z, positives, scores, totals)

    def _derivatives(
        self, first: int, last: int, z: Tensor, scores: Tensor, totals: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return a tile's summed loss, and its derivatives by z, positive scores and sums."""
        leaves = [z.clone().requires_grad_(), scores.clone().requires_grad_()]
        smoothing = None
        if totals is not None:
            leaves.append(totals.clone().requires_grad_())
            smoothing = Smoothing(self.loss.label_smoothing, leaves[2], self.allowed[first:last])
        query, weight = self.pairs.positives_of(first, last, z)
        with torch.enable_grad():
            positives = Positives(query, weight, leaves[1])
            loss = self.form.losses(leaves[0], positives, smoothing).sum()
            by_z, by_score, *by_total = torch.autograd.grad(loss, leaves)
        return loss.detach(), by_z, by_score, by_total[0] if by_total else None


@dataclass(frozen=True)
class _Contribution:
    """What the present embeddings of a block add, per query of this rank, (n_own,) each."""

    partition: Tensor
    """Their log-partition."""
    count: Tensor
    """How many of them compete."""
    total: Tensor | None
    """The sum of their scores, with label smoothing."""


@dataclass(frozen=True)
class _Tile:
    """What a block does to a tile of queries."""

    loss: Tensor
    gradient: Tensor
    z: Tensor
    positives: slice
    scores: Tensor
    totals: Tensor | None
