"""The order of training: epochs into global batches, a global batch into every rank's
micro-batches, all by seed alone.

Every rank computes the same plan, so nothing about order is communicated, and the same queries
stand in a step whatever the number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Ints, Rows, lookup_sorted, positions_in_groups
from recipekit.encoding.batches import length_batches
from recipekit.records import Verdict
from recipekit.training.labels import TrainingLabels

__all__ = ["InBatch", "epoch_batches", "in_batch", "micro_batches"]

HARD_POOL = 4
"""Hard negatives are drawn from this many times as many of the best ranked, so that epochs differ
and all stay hard.
"""


def epoch_batches(n_queries: int, batch_size: int, seed: Sequence[int]) -> list[Rows]:
    """One epoch's global batches, shuffled by `seed`; the last one may be smaller, and no query is
    left out.
    """
    order = np.random.default_rng(seed).permutation(n_queries)
    return [order[start : start + batch_size] for start in range(0, n_queries, batch_size)]


def micro_batches(
    batch: Rows, lengths: Ints, max_tokens_per_batch: int, ranks: int, padding: int | None = None
) -> list[list[Rows]]:
    """Divide a global batch over ranks and forward passes.

    Ranks take turns along the texts sorted by length, so that their work is alike; each rank's
    share is then cut by length into batches of at most `max_tokens_per_batch` padded tokens. Where
    a rank has fewer of them than another, the rest are empty: ranks that compute a loss together
    must call it equally often.

    Args:
        batch: What the global batch holds, (b,).
        lengths: Tokens of each of them, (b,).
        max_tokens_per_batch: Padded tokens in one forward pass.
        ranks: How many there are.
        padding: Padding tokens that a forward pass may have; by default as `length_batches` has it.

    Returns:
        For every forward pass, for every rank, positions in `batch`.
    """
    by_length = np.argsort(lengths, kind="stable")[::-1]
    shares = [by_length[rank::ranks] for rank in range(ranks)]
    cut = [
        [
            share[part]
            for part in length_batches(lengths[share], max_tokens_per_batch, padding=padding)
        ]
        if len(share)
        else []
        for share in shares
    ]
    nothing = np.empty(0, dtype=np.int64)
    return [
        [own[turn] if turn < len(own) else nothing for own in cut]
        for turn in range(max(map(len, cut), default=0))
    ]


@dataclass(frozen=True)
class InBatch:
    """A batch for a loss over the batch alone.

    queries: indices of training queries (b,). passages: rows in the data set, ascending, without
        duplicates (p,). mask:
    `Verdict` codes, int8 (b, p): POSITIVE, IGNORE, or NEGATIVE for all other pairs.
    """

    queries: Rows
    passages: Rows
    mask: npt.NDArray[np.int8]


def in_batch(labels: TrainingLabels, queries: Rows, negatives: int, seed: Sequence[int]) -> InBatch:
    """Draw one positive of each query by weight, and up to `negatives` of its hard negatives, and
    mask what is known.

    A passage that several queries brought stands once, and a pair known to be positive or ignored
    is marked so whoever brought the passage.
    """
    rng = np.random.default_rng(seed)
    local, at = labels.positive.of(queries)
    # An exponential race: the least of u_p / w_p, u_p ~ Exp(1), falls on p with probability w_p.
    race = rng.exponential(size=len(at)) / np.maximum(labels.weight[at], 1e-12)
    brought = [labels.positive.passage[at[_first(local, race, 1)]]]
    if negatives and len(labels.negative):
        local, at = labels.negative.of(queries)
        hard = positions_in_groups(local) < HARD_POOL * negatives
        local, at = local[hard], at[hard]
        brought.append(labels.negative.passage[at[_first(local, rng.random(len(at)), negatives)]])
    passages = np.unique(np.concatenate(brought)).astype(np.int64)
    mask = np.full((len(queries), len(passages)), Verdict.NEGATIVE, dtype=np.int8)
    for pairs, verdict in ((labels.ignored, Verdict.IGNORE), (labels.positive, Verdict.POSITIVE)):
        local, at = pairs.of(queries)
        passage = pairs.passage[at]
        column, here = lookup_sorted(passages, passage)
        mask[local[here], column[here]] = verdict
    return InBatch(queries, passages, mask)


def _first(group: Rows, value: npt.NDArray[np.float64], count: int) -> Rows:
    """Positions of each group's `count` least values; `group` is ascending."""
    order = np.lexsort((value, group))
    first: Rows = order[positions_in_groups(group) < count]
    return first
