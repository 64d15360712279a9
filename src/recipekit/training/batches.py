"""The order of training: epochs into global batches, global batches into forward passes.

Everything here depends only on its arguments. Every rank computes the same plan, so no order is
communicated, and a step has the same queries for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Bools, Ints, Rows, lookup_sorted, positions_in_groups
from recipekit.component import TrainingLabels
from recipekit.encoding.batches import length_batches
from recipekit.records import Verdict

__all__ = [
    "HARD_POOL",
    "Epochs",
    "LabelledBatch",
    "drawn_positives",
    "epoch_batches",
    "hard_negatives",
    "hard_pool",
    "labelled_batch",
    "micro_batches",
    "padded_tokens",
]

HARD_POOL = 4
"""Hard negatives are drawn from this many times as many of the best ranked, so that epochs differ
and all negatives stay hard."""


def epoch_batches(
    count: int, batch_size: int, seed: Sequence[int], smallest: int = 1
) -> list[Rows]:
    """Shuffle one epoch and cut it into global batches.

    The last batch may be smaller; nothing is left out. If it had fewer than `smallest` members, it
    takes the missing ones from the batch before, or joins it if that became too small.
    """
    order = np.random.default_rng(seed).permutation(count)
    return np.split(order, _batch_starts(count, batch_size, smallest)[1:])


def _batch_starts(count: int, batch_size: int, smallest: int) -> list[int]:
    """Return where the batches of an epoch start."""
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] < smallest:
        starts[-1] = count - smallest
        if starts[-1] - starts[-2] < smallest:
            del starts[-1]
    return starts


class Epochs:
    """Global batches of training queries, or of passages, by step."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: Sequence[int],
        epochs_per_cycle: int,
        smallest: int = 1,
    ) -> None:
        self.count, self.batch_size, self.smallest = count, batch_size, smallest
        self.seed, self.epochs_per_cycle = list(seed), epochs_per_cycle
        self.steps_per_epoch = len(_batch_starts(count, batch_size, smallest))
        self._epoch: list[int] = []
        self._batches: list[Rows] = []

    def at(self, step: int) -> tuple[Rows, list[int]]:
        """Return a step's batch, (b,) numbers below `count`, and its seed.

        The seed is the phase's, followed by cycle, epoch and step.
        """
        epoch, within = divmod(step, self.steps_per_epoch)
        position = [*self.seed, *divmod(epoch, self.epochs_per_cycle)]
        if position != self._epoch:
            self._epoch = position
            self._batches = epoch_batches(self.count, self.batch_size, position, self.smallest)
        return self._batches[within], [*position, step]


def micro_batches(
    lengths: Ints, max_tokens_per_batch: int, ranks: int, padding: int | None = None
) -> list[list[Rows]]:
    """Divide a global batch over forward passes and ranks.

    The texts, sorted by length, are dealt to the ranks in turn, so that ranks have similar work.
    Each rank's texts are then cut by length into batches of at most `max_tokens_per_batch` padded
    tokens. A rank with fewer batches than another gets empty ones: all ranks make the same number
    of forward passes.

    Args:
        lengths: Tokens of each text of the batch, (b,).
        max_tokens_per_batch: Padded tokens in one forward pass.
        ranks: Number of ranks.
        padding: Padding tokens that a forward pass may have; by default as in `length_batches`.

    Returns:
        For every forward pass, for every rank, positions in the batch.
    """
    by_length = np.argsort(lengths, kind="stable")[::-1]
    batches = []
    for rank in range(ranks):
        own = by_length[rank::ranks]
        cuts = length_batches(lengths[own], max_tokens_per_batch, padding=padding)
        batches.append([own[cut] for cut in cuts])
    passes = max(map(len, batches), default=0)
    empty = np.empty(0, dtype=np.int64)
    return [[own[turn] if turn < len(own) else empty for own in batches] for turn in range(passes)]


def padded_tokens(lengths: Ints, passes: Sequence[Sequence[Rows]]) -> int:
    """Return the padded tokens of the rank that has most of them in all of its passes together.

    Args:
        lengths: Tokens of each text of the batch, (b,).
        passes: For every forward pass, for every rank, positions in the batch.
    """
    of_ranks = [
        sum(len(own) * int(lengths[own].max()) for own in turns if len(own))
        for turns in zip(*passes, strict=True)
    ]
    return max(of_ranks, default=0)


@dataclass(frozen=True)
class LabelledBatch:
    """A batch of queries and passages with the label of every pair."""

    passages: Rows
    """Rows in the data set, ascending, without duplicates, (p,)."""
    mask: npt.NDArray[np.int8]
    """`Verdict` code of each pair, int8 (b, p): POSITIVE, IGNORE, or NEGATIVE."""


def labelled_batch(
    labels: TrainingLabels, queries: Rows, num_hard_negatives: int, seed: Sequence[int]
) -> LabelledBatch:
    """Draw passages for a batch of queries, and look up the label of every pair.

    Each query adds one of its positives, drawn by weight, and up to `num_hard_negatives` of its
    hard negatives. A passage that several queries add occurs once.
    """
    rng = np.random.default_rng(seed)
    drawn = [labels.positive.passage[drawn_positives(labels, queries, rng)]]
    if num_hard_negatives and len(labels.negative):
        _, chosen = hard_negatives(labels, queries, num_hard_negatives, rng)
        drawn.append(labels.negative.passage[chosen])
    passages = np.unique(np.concatenate(drawn)).astype(np.int64)
    mask = np.full((len(queries), len(passages)), Verdict.NEGATIVE, dtype=np.int8)
    for pairs, verdict in ((labels.ignored, Verdict.IGNORE), (labels.positive, Verdict.POSITIVE)):
        local, at = pairs.of(queries)
        column, is_drawn = lookup_sorted(passages, pairs.passage[at])
        mask[local[is_drawn], column[is_drawn]] = verdict
    return LabelledBatch(passages, mask)


def drawn_positives(
    labels: TrainingLabels, queries: Rows, rng: np.random.Generator, allowed: Bools | None = None
) -> Rows:
    """Draw one positive of each query, by weight.

    Args:
        labels: The labels.
        queries: Training queries, (b,).
        rng: The source of randomness.
        allowed: Which positives may be drawn, at least one of each query; None allows all.

    Returns:
        Positions in `labels.positive`, (b,).
    """
    local, at = labels.positive.of(queries)
    if allowed is not None:
        local, at = local[allowed[at]], at[allowed[at]]
    # An exponential race: the smallest u_p / w_p, u_p ~ Exp(1), is that of p with probability w_p.
    race = rng.exponential(size=len(at)) / np.maximum(labels.weight[at], 1e-12)
    positions: Rows = at[_smallest(local, race, 1)]
    return positions


def hard_negatives(
    labels: TrainingLabels,
    queries: Rows,
    count: int,
    rng: np.random.Generator,
    allowed: Bools | None = None,
) -> tuple[Rows, Rows]:
    """Draw up to `count` hard negatives of each query, from the four times as many best ranked.

    Args:
        labels: The labels.
        queries: Training queries, (b,).
        count: Hard negatives per query.
        rng: The source of randomness.
        allowed: Which negatives may be drawn; None allows all.

    Returns:
        For each drawn negative its position in `queries`, ascending, and in `labels.negative`.
    """
    local, at = hard_pool(labels, queries, count, allowed)
    chosen = _smallest(local, rng.random(len(at)), count)
    return local[chosen], at[chosen]


def hard_pool(
    labels: TrainingLabels, queries: Rows, count: int, allowed: Bools | None = None
) -> tuple[Rows, Rows]:
    """Return the hard negatives that `hard_negatives` draws from.

    Args:
        labels: The labels.
        queries: Training queries, (b,).
        count: Hard negatives per query.
        allowed: Which negatives may be drawn; None allows all.

    Returns:
        For each one its query's position in `queries`, ascending, and its own in `labels.negative`.
    """
    local, at = labels.negative.of(queries)
    if allowed is not None:
        local, at = local[allowed[at]], at[allowed[at]]
    is_hard = positions_in_groups(local) < HARD_POOL * count
    return local[is_hard], at[is_hard]


def _smallest(group: Rows, value: npt.NDArray[np.float64], count: int) -> Rows:
    """Positions of each group's `count` smallest values; `group` is ascending."""
    order = np.lexsort((value, group))
    smallest: Rows = order[positions_in_groups(group) < count]
    return smallest
