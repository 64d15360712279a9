"""Exact search over compressed passages, which are expanded tile by tile."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from recipekit.arrays import Floats, Ints
from recipekit.component import Hits
from recipekit.records import Similarity
from recipekit.search.similarity import pair_scores
from recipekit.search.topk import exact_top_k

__all__ = ["Expanded", "search_bits", "search_expanded"]

TILE = 32_768
"""Passages expanded at once: 128 MB at 1,024 dimensions."""
QUERIES_RESCORED = 64


class Expanded(Protocol):
    """Passages that are float32 (n, dimension) when they are read."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any) -> Floats: ...


def search_expanded(
    queries: Floats, passages: Expanded, depth: int, similarity: Similarity, device: str = "cpu"
) -> Hits:
    """Find the `depth` passages of highest similarity for each query, as `exact_top_k` does.

    Args:
        queries: float32 (n, dimension).
        passages: The compressed passages.
        depth: How many passages per query; a depth beyond the corpus is padded.
        similarity: How vectors are compared.
        device: The torch device to score on.
    """
    rows, scores = np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.float32)
    for start in range(0, max(len(passages), 1), TILE):
        tile = passages[start : start + TILE]
        found = exact_top_k(queries, tile, depth, similarity=similarity, device=device)
        moved = np.where(found.rows >= 0, found.rows + start, -1).astype(np.int32)
        # Rows of a later tile are higher and come after: a stable sort keeps the lower row first.
        rows = np.concatenate([rows, moved], axis=1)
        scores = np.concatenate([scores, found.scores], axis=1)
        rows, scores = _best(rows, scores, depth)
    return Hits(rows, scores)


def search_bits(
    queries: Floats, passages: Expanded, depth: int, *, rescore: int, device: str = "cpu"
) -> Hits:
    """Find passages by the signs of their dimensions, and rank them by the query's full vector.

    The first stage counts equal signs: for signs s in {-1, 1}, the inner product of two rows is the
    dimension minus twice their Hamming distance. The second stage scores the first `rescore *
    depth` passages by the inner product of the query's vector and the passage's signs (Yamada,
    Asai and Hajishirzi 2021, "Efficient passage retrieval with hashing for open-domain question
    answering").

    Args:
        queries: The queries' vectors, float32 (n, dimension).
        passages: The passages; an expanded row is made of -1 and 1.
        depth: How many passages per query.
        rescore: How many times more passages the first stage finds; 0 returns its ranking.
        device: The torch device to score on.
    """
    signs = np.where(queries > 0, np.float32(1), np.float32(-1))
    deeper = min(max(rescore, 1) * depth, max(len(passages), depth))
    found = search_expanded(signs, passages, deeper, "dot", device)
    if rescore == 0:
        return found
    scores = np.full(found.rows.shape, -np.inf, np.float32)
    for start in range(0, len(queries), QUERIES_RESCORED):
        block = slice(start, start + QUERIES_RESCORED)
        rows = found.rows[block]
        expanded = passages[np.maximum(rows, 0).ravel()].reshape(*rows.shape, -1)
        scored = pair_scores(queries[block, None], expanded, "dot")
        scores[block] = np.where(rows >= 0, scored, -np.inf)
    by_row = np.argsort(found.rows, axis=1, kind="stable")
    rows = np.take_along_axis(found.rows, by_row, axis=1)
    return Hits(*_best(rows, np.take_along_axis(scores, by_row, axis=1), depth))


def _best(rows: Ints, scores: Floats, depth: int) -> tuple[Ints, Floats]:
    """Return the best columns of each row; of equal scores, the first ones."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
