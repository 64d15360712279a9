"""Variants of a measured system: its vectors compressed, and its first passages reranked."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recipekit.arrays import Floats, Ints, Rows
from recipekit.component import (
    CrossEncoder,
    Efficiency,
    Embeddings,
    Hits,
    Progress,
    QueryBatch,
    Retriever,
    System,
)
from recipekit.dataset import Dataset
from recipekit.encoding.compression import CompressedVectors, fit_compressor
from recipekit.encoding.compression_keys import CompressionKeys
from recipekit.search.compressed import search_bits, search_expanded

__all__ = ["CompressedSearch", "Reranked", "compressed_search", "rerank"]

QUERIES_AT_ONCE = 32
"""Queries whose pairs are sorted by length together."""


@dataclass(frozen=True)
class CompressedSearch(Retriever):
    """Exact search over compressed passages."""

    queries: Embeddings
    passages: CompressedVectors
    device: str

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages whose compressed vectors are most similar to each query's vector."""
        compressor = self.passages.compressor
        vectors = compressor.reduce(self.queries.take(queries.rows))
        if compressor.keys.precision == "binary":
            return search_bits(
                vectors,
                self.passages,
                depth,
                rescore=compressor.keys.rescore,
                device=self.device,
            )
        return search_expanded(vectors, self.passages, depth, compressor.similarity, self.device)


def compressed_search(
    system: System, keys: CompressionKeys, device: str
) -> tuple[CompressedSearch, Efficiency]:
    """Compress a system's passages, and return their search with what it costs.

    Raises:
        RunError: The vectors cannot be compressed in this way.
    """
    assert system.vectors is not None
    queries, passages = system.vectors["query"], system.vectors["passage"]
    compressor = fit_compressor(keys, passages.matrix, passages.similarity)
    compressed = CompressedVectors.of(compressor, passages.matrix)
    efficiency = replace(
        system.efficiency,
        dimension=compressor.dimension,
        bytes_per_vector=compressor.bytes_per_vector,
        index_bytes=compressed.nbytes,
    )
    return CompressedSearch(queries, compressed, device), efficiency


@dataclass(frozen=True)
class Reranked:
    """A ranking whose first passages a cross-encoder put in order, and what that took."""

    hits: Hits
    pairs: int
    seconds: float

    def costs(self, queries: int) -> dict[str, Any]:
        """The pairs scored, pairs per second, and milliseconds per query."""
        return {
            "pairs": self.pairs,
            "pairs_per_second": self.pairs / self.seconds,
            "ms_per_query": 1000 * self.seconds / queries,
        }


def rerank(
    name: str,
    first: Hits,
    depth: int,
    scorer: CrossEncoder,
    dataset: Dataset,
    queries: Rows,
    progress: Progress,
) -> Reranked:
    """Order the first `depth` passages of each query by a cross-encoder's scores.

    Later passages follow in their own order. Of equal scores, the first stage's order is kept.

    Args:
        name: The system's name, for progress.
        first: The first stage's ranking, (n, at least depth).
        depth: How many passages are scored per query.
        scorer: The cross-encoder.
        dataset: The texts.
        queries: The queries' rows in the data set, (n,).
        progress: Where the work is shown.
    """
    head = first.rows[:, :depth]
    scores = np.full(head.shape, -np.inf, np.float32)
    seconds = 0.0
    with progress.track(f"rerank {name}", int((head >= 0).sum()), "pairs") as tracker:
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            block = slice(start, start + QUERIES_AT_ONCE)
            here, at = np.nonzero(head[block] >= 0)
            texts = dataset.queries.texts(queries[block][here])
            passages = dataset.passages.texts(head[block][here, at])
            started = time.perf_counter()
            scores[start + here, at] = scorer.score(texts, passages)
            seconds += time.perf_counter() - started
            tracker.advance(len(here))
    return Reranked(_reordered(first, scores), int((head >= 0).sum()), seconds)


def _reordered(first: Hits, scores: Floats) -> Hits:
    depth = scores.shape[1]
    order = np.argsort(-scores, axis=1, kind="stable")
    rows: Ints = first.rows.copy()
    rows[:, :depth] = np.take_along_axis(first.rows[:, :depth], order, axis=1)
    # Scores of two models cannot be compared, so those of the tail fall below the last of the head.
    ranked = np.full(rows.shape, -np.inf, np.float32)
    ranked[:, :depth] = np.take_along_axis(scores, order, axis=1)
    lowest = np.where(np.isfinite(scores), scores, np.inf).min(axis=1, initial=np.inf)
    tail = np.arange(1, rows.shape[1] - depth + 1, dtype=np.float32)
    ranked[:, depth:] = np.where(rows[:, depth:] >= 0, lowest[:, None] - tail, -np.inf)
    return Hits(rows, ranked)
