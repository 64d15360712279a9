"""Fusion: joins the lists of several retrievers into one per query.

- `rrf`: sum over retrievers of weight / (60 + rank) (Cormack, Clarke and Büttcher, "Reciprocal Rank
  Fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009).
- `score`: sum over retrievers of weight * (score - min) / (max - min), min and max over the
  retriever's list for the query.
- `union`: 1 / best rank, so that every retriever's first passage comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Bools, Floats, Ints, Rows, pair_keys, positions_in_groups
from recipekit.component import Hits
from recipekit.errors import ComponentError

__all__ = ["Fused", "Fusion", "cut", "fuse"]

Fusion = Literal["rrf", "score", "union"]
RRF_CONSTANT = 60
"""Damps the first ranks. The paper's constant; its results hardly changed between 20 and 100."""


@dataclass(frozen=True)
class Fused:
    """Fused candidates of a batch of queries, one row per pair.

    Sorted by query, descending score, passage.
    """

    query: Rows
    """Position of the query in the batch, int64 (m,)."""
    passage: Ints
    """Passage row, int32 (m,)."""
    score: Floats
    """Fused score, float32 (m,)."""
    ranks: Mapping[str, Ints]
    """By retriever, int32 (m,), 1-based; 0 if it did not retrieve the pair."""
    scores: Mapping[str, Floats]
    """By retriever, float32 (m,); NaN if it did not retrieve the pair."""

    def __len__(self) -> int:
        return len(self.query)

    def take(self, chosen: Rows | Bools) -> Fused:
        """Return some of the pairs: by position, in that order, or by a mask."""
        return Fused(
            self.query[chosen],
            self.passage[chosen],
            self.score[chosen],
            {name: ranks[chosen] for name, ranks in self.ranks.items()},
            {name: scores[chosen] for name, scores in self.scores.items()},
        )


def fuse(
    hits: Mapping[str, Hits], how: Fusion, weights: Mapping[str, float] | None = None
) -> Fused:
    """Join each query's lists into one.

    Args:
        hits: By retriever, for the same batch of queries; depths may differ.
        how: The method; see the module.
        weights: By retriever, 1 by default; `union` ignores them.

    Raises:
        ComponentError: A retriever returned a passage twice for one query.
    """
    stride = 1 + max((int(found.rows.max(initial=-1)) for found in hits.values()), default=0)
    present = {name: found.rows >= 0 for name, found in hits.items()}
    keys = [
        pair_keys(np.nonzero(present[name])[0], found.rows[present[name]], stride)
        for name, found in hits.items()
    ]
    pairs, places = np.unique(np.concatenate(keys), return_inverse=True)
    fused = np.zeros(len(pairs))
    ranks: dict[str, Ints] = {}
    scores: dict[str, Floats] = {}
    starts = np.cumsum([len(part) for part in keys])[:-1]
    for (name, found), place in zip(hits.items(), np.split(places, starts), strict=True):
        is_hit = present[name]
        ranks[name] = np.zeros(len(pairs), np.int32)
        ranks[name][place] = _ranks(found)[is_hit]
        scores[name] = np.full(len(pairs), np.nan, np.float32)
        scores[name][place] = found.scores[is_hit]
        if np.count_nonzero(ranks[name]) < len(place):
            raise ComponentError(
                f"retriever '{name}' returned a passage twice for one query", code="RK241"
            )
        points = _points(found, how, (weights or {}).get(name, 1.0))[is_hit]
        fused[place] = np.maximum(fused[place], points) if how == "union" else fused[place] + points
    whole = Fused(
        pairs // stride, (pairs % stride).astype(np.int32), fused.astype(np.float32), ranks, scores
    )
    # The pairs are sorted by (query, passage), and lexsort is stable: equal scores keep the lower
    # row first.
    return whole.take(np.lexsort((-whole.score, whole.query)))


def _ranks(hits: Hits) -> npt.NDArray[Any]:
    return np.broadcast_to(np.arange(1, hits.rows.shape[1] + 1), hits.rows.shape)


def _points(hits: Hits, how: Fusion, weight: float) -> npt.NDArray[np.float64]:
    """Return a retriever's contribution to the score of each of its hits, (n, depth)."""
    if how == "rrf":
        return np.asarray(weight / (RRF_CONSTANT + _ranks(hits)))
    if how == "union":
        return np.asarray(1 / _ranks(hits))
    return weight * _scaled(hits)


def _scaled(hits: Hits) -> npt.NDArray[np.float64]:
    """Scale scores to 0..1 per query; all become 1 if they are equal, as in a list of one."""
    is_hit = hits.rows >= 0
    scores = hits.scores.astype(np.float64)
    low = np.where(is_hit, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(is_hit, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    scaled = np.ones_like(scores)
    np.divide(scores - low, high - low, out=scaled, where=is_hit & (high > low))
    return scaled


def cut(fused: Fused, keep: int | None, spared: Bools) -> Bools:
    """Select the `keep` best pairs of each query, and all that are `spared` in addition.

    Returns:
        Mask of the pairs to keep, (m,).
    """
    kept = spared.copy()
    counted = np.flatnonzero(~spared)
    kept[counted] = True if keep is None else positions_in_groups(fused.query[counted]) < keep
    return kept
