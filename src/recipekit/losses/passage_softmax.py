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

takes 6·n·|b|·d operations: old scores, new scores and the gradient. Memory: the two matrices, one
log-partition per query, one score per positive pair, and a tile of scores.

Where a block holds nearly all of a partition, the subtraction leaves rounding errors. For those few
queries z_i^rest is computed from all passages outside the block. At most one passage can be that
heavy for a query, so over an epoch this adds at most 2·n·N·d operations to 6·n·N·d.

Label smoothing caches S_i, the sum of the scores in z_i, in the same way as z_i.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from recipekit.arrays import Rows
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import default_tile_size, log_partition
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.softmax_forms import FORMS, Positives, Smoothing
from recipekit.query_pairs import QueryPairs

if TYPE_CHECKING:
    from recipekit.component import TrainingLabels
    from recipekit.losses.exact_softmax_math import ExactSoftmax

__all__ = ["PassageSoftmax", "read_slice"]

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
            loss: Temperature, form, label smoothing and tile size.
            queries: The training queries, (n, dim).
            passages: All passages, (N, dim); `update` writes to its memory.
            labels: The labels of the training queries.
        """
        self.loss, self.form, self.labels = loss, FORMS[loss.form], labels
        self.queries, self.passages = queries, passages
        self.exact = torch.float64 if queries.matrix.dtype == torch.float64 else torch.float32
        self.tile_size = loss.tile_size or default_tile_size(queries.matrix.device)
        own = slice(queries.start, queries.start + len(queries.matrix))
        self.pairs = _PairsByPassage.of(labels, own, passages.total)
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
        own = slice(self.queries.start, self.queries.start + len(self.queries.matrix))
        for first in range(0, self.queries.total, self.tile_size):
            rows = np.arange(first, min(first + self.tile_size, self.queries.total))
            like = torch.empty(0, dtype=self.exact, device=device)
            queries = self.queries.rows(torch.from_numpy(rows).to(device), like)
            targets = CorpusLabels.of_queries(labels, rows, device)
            with torch.no_grad():
                tile_z, positives, smoothing = self.loss.partition(queries, targets, self.passages)
            local = slice(max(own.start - first, 0), max(own.stop - first, 0))
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
        content = save({name: values.cpu().contiguous() for name, values in tensors.items()})
        # safetensors' own writer hides the OSError of a full disk.
        (folder / f"rank-{self.queries.ranks.rank:06d}.safetensors").write_bytes(content)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, on the same or another number of ranks."""
        files = sorted(folder.glob("rank-*.safetensors"))
        start, stop = self.passages.start, self.passages.start + len(self.passages.matrix)
        self.passages.matrix.copy_(read_slice(files, "passages", start, stop))
        device, first = self.queries.matrix.device, self.queries.start
        last = first + len(self.queries.matrix)
        offsets = self.labels.positive.offsets
        self.z = read_slice(files, "z", first, last).to(device)
        self.scores = read_slice(files, "scores", int(offsets[first]), int(offsets[last])).to(
            device
        )
        if self.loss.label_smoothing > 0:
            self.totals = read_slice(files, "totals", first, last).to(device)

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
        new = rounded.to(self.exact)
        old = self.passages.rows(at, like=new)
        pairs = self.pairs.in_block(rows, device)
        before = self._contribution(old, pairs)
        rest = self._rest(rows, before)
        gradient, loss_sum = torch.zeros_like(new), new.new_zeros(())
        for first, last in self._tiles():
            tile = self._tile(first, last, new, pairs, rest, before)
            gradient += tile.gradient
            loss_sum += tile.loss
            if update:
                self.z[first:last] = tile.z
                self.scores[tile.positives] = tile.scores
                if self.totals is not None and tile.totals is not None:
                    self.totals[first:last] = tile.totals
        if update:
            self._replace(at, rounded)
        n = max(1, self.queries.total)
        return loss_sum / n, self.queries.sum(gradient) / n

    def _tiles(self) -> Iterator[tuple[int, int]]:
        return pairwise([*range(0, len(self.z), self.tile_size), len(self.z)])

    def _contribution(self, old: Tensor, pairs: _BlockPairs) -> _Contribution:
        """Compute what a block's present embeddings add to the partitions and sums."""
        partition, total = torch.empty_like(self.z), None
        count = torch.empty_like(self.allowed)
        if self.totals is not None:
            total = torch.empty_like(self.totals)
        for first, last in self._tiles():
            queries = self.queries.matrix[first:last].to(old) / self.loss.temperature
            scores = queries @ old.T
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
            exact = self._partitions_without(queries, rows)
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
        vectors = self.queries.rows(queries, like) / self.loss.temperature
        numbers = queries.cpu().numpy()
        leave_out = [self.labels.ignored.take(numbers)]
        if not self.form.positives_compete:
            leave_out.append(self.labels.positive.take(numbers))
        passages = [pairs.passage.astype(np.int64) for pairs in leave_out]
        passages.append(np.tile(rows, len(numbers)))
        of = [pairs.query for pairs in leave_out] + [np.arange(len(numbers)).repeat(len(rows))]
        pairs = np.unique(np.stack([np.concatenate(passages), np.concatenate(of)]), axis=1)
        passage, query = (torch.from_numpy(column).to(queries.device) for column in pairs)
        with torch.no_grad():
            z, _ = log_partition(vectors, self.passages, (query, passage), self.tile_size)
        return z

    def _tile(
        self,
        first: int,
        last: int,
        new: Tensor,
        pairs: _BlockPairs,
        rest: Tensor,
        before: _Contribution,
    ) -> _Tile:
        """Compute the part of one tile of queries."""
        queries = self.queries.matrix[first:last].to(new) / self.loss.temperature  # (t, dim)
        new_scores = queries @ new.T  # (t, b)
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
        return _Tile(loss, weights.T @ queries, z, positives, scores, totals)

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

    def _replace(self, rows: Tensor, embeddings: Tensor) -> None:
        local = rows - self.passages.start
        held = (local >= 0) & (local < len(self.passages.matrix))
        matrix = self.passages.matrix
        matrix[local[held].to(matrix.device)] = embeddings[held].to(matrix.device)


def read_slice(files: Sequence[Path], name: str, start: int, stop: int) -> Tensor:
    """Read rows [start, stop) of a tensor whose rows lie in several files, in order."""
    parts: list[Tensor] = []
    first = 0
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            rows = tensors.get_slice(name)
            count = rows.get_shape()[0]
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high or (start == stop and not parts):
                parts.append(rows[low : max(low, high)])
        first += count
    return torch.cat(parts)


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


@dataclass(frozen=True)
class _PairsByPassage:
    """The labelled pairs of this rank's queries, by passage."""

    n_queries: int
    first_positive: Rows
    """Where each query's positives start, (n_queries + 1,)."""
    weight: npt.NDArray[np.float32]
    positive: QueryPairs
    """Rows are passages, and what it calls passages are queries."""
    number: Rows
    """Which positive, in order of queries, each pair of `positive` is."""
    ignored: QueryPairs

    @classmethod
    def of(cls, labels: TrainingLabels, own: slice, n_passages: int) -> _PairsByPassage:
        rows = np.arange(own.start, own.stop)
        positive, ignored = labels.positive.take(rows), labels.ignored.take(rows)
        order = np.lexsort((positive.query, positive.passage))
        by_passage = QueryPairs.from_sorted(
            positive.passage[order], positive.query[order], n_passages
        )
        weight = labels.weight[labels.positive.of(rows)[1]]
        transposed = QueryPairs.from_pairs(ignored.passage, ignored.query, n_passages)
        return cls(len(rows), positive.offsets, weight, by_passage, order, transposed)

    def masked_counts(self, *, competing: bool) -> Rows:
        """Count the passages that do not compete for each query, (n_queries,)."""
        counts = np.bincount(self.ignored.passage, minlength=self.n_queries)
        if not competing:
            counts += np.diff(self.first_positive)
        return counts.astype(np.int64)

    def positives_of(self, first: int, last: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return query, counted from `first`, and weight of the positives of some queries."""
        counts = np.diff(self.first_positive[first : last + 1])
        query = np.repeat(np.arange(last - first), counts)
        weight = self.weight[self.first_positive[first] : self.first_positive[last]]
        return torch.from_numpy(query).to(like.device), torch.from_numpy(weight).to(like)

    def in_block(self, rows: Rows, device: torch.device) -> _BlockPairs:
        """Return the pairs of a block of passages."""
        column, at = self.positive.of(rows)
        ignored_column, ignored_at = self.ignored.of(rows)
        positive = (self.positive.passage[at], column, self.number[at])
        ignored = (self.ignored.passage[ignored_at], ignored_column)
        return _BlockPairs(_by_query(*positive, device=device), _by_query(*ignored, device=device))


@dataclass(frozen=True)
class _BlockPairs:
    """The labelled pairs of a block, by query, as int64 tensors."""

    positive: tuple[Tensor, ...]
    """Query, column in the block, and number of each positive."""
    ignored: tuple[Tensor, ...]
    """Query and column of each ignored pair."""

    def positives(self, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return row in the tile, column and number of the positives in a tile of queries."""
        query, column, number = _between(self.positive, first, last)
        return query - first, column, number

    def masked(self, first: int, last: int, *, competing: bool) -> tuple[Tensor, Tensor]:
        """Return row and column of the entries of a tile that do not compete."""
        query, column = _between(self.ignored, first, last)
        if not competing:
            positive_query, positive_column, _ = _between(self.positive, first, last)
            query = torch.cat([query, positive_query])
            column = torch.cat([column, positive_column])
        return query - first, column


def _between(columns: tuple[Tensor, ...], first: int, last: int) -> tuple[Tensor, ...]:
    """Select the entries whose query is in [first, last)."""
    limits = torch.tensor([first, last], device=columns[0].device)
    low, high = torch.searchsorted(columns[0], limits).tolist()
    return tuple(column[low:high] for column in columns)


def _by_query(*columns: npt.NDArray[np.integer], device: torch.device) -> tuple[Tensor, ...]:
    order = np.argsort(columns[0], kind="stable")
    return tuple(torch.from_numpy(column[order].astype(np.int64)).to(device) for column in columns)
