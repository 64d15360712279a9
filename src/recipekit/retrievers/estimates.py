"""Estimates of what retrievers need, for `plan`: bytes from the data's sizes, hours from rates.

The rates were measured on two shared cores in November 2026, servers and client together, by
tests/benchmarks/bench_elasticsearch.py and bench_qdrant.py, with 100,000 passages of 390 bytes and
vectors of 384 dimensions. A production cluster is faster: the hours are an order of magnitude.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recipekit.component import Sizes

__all__ = ["bm25_work", "elasticsearch_work", "exact_work", "qdrant_work"]

HOURS: Final = "hours on two cores"

ELASTICSEARCH_TEXT_PER_SECOND: Final = 1.1e7
"""Bytes of text indexed."""
ELASTICSEARCH_SECONDS_PER_QUERY: Final = 0.33e-3
ELASTICSEARCH_SECONDS_PER_QUERY_AND_PASSAGE: Final = 4.6e-9
"""At depth 100: 1,260 queries per second over 100,000 passages, and over MS MARCO's 8.8 million the
12 per second and core of bm25s' paper (arXiv 2407.03618)."""
ELASTICSEARCH_INDEX_BYTES: Final = 0.76
"""Index bytes per byte of text: 0.774 on scifact, 0.755 on nfcorpus, without stored texts."""

QDRANT_VALUES_PER_SECOND: Final = {"rest": 11_900 * 384.0, "grpc": 28_400 * 384.0}
"""Vector components uploaded."""
QDRANT_OVERHEAD: Final = 1.5
"""Memory for vectors, graph and ids per byte of vectors, Qdrant's own rule of thumb."""
QDRANT_GRAPH_VALUES_PER_SECOND: Final = 1_880 * 384.0
"""Vector components added to the graph: 100,000 vectors took 53 s. The time per vector grows with
the logarithm of the graph's size."""
QDRANT_GRAPH_MEASURED: Final = 100_000
QDRANT_QUERIES_PER_SECOND: Final = {"rest": 540.0, "grpc": 751.0}
"""At depth 100, with a graph over 100,000 vectors."""

POSTING_BYTES: Final = 8
"""bm25s stores a passage's row and a score for every distinct term of it."""
BYTES_PER_TERM: Final = 15.0
"""Bytes of text per distinct term of a passage, without stop words: 14.9 on nfcorpus, 15.2 on
scifact.
"""


def elasticsearch_work(sizes: Sizes, *, loaded: bool) -> dict[str, float | str]:
    """Index bytes, and hours to index and search.

    Args:
        sizes: The data's sizes.
        loaded: Whether the passages are indexed; False for an existing index.
    """
    text = sizes.passages * sizes.passage_bytes if loaded else 0.0
    seconds_per_query = (
        ELASTICSEARCH_SECONDS_PER_QUERY
        + sizes.passages * ELASTICSEARCH_SECONDS_PER_QUERY_AND_PASSAGE
    )
    seconds = text / ELASTICSEARCH_TEXT_PER_SECOND + sizes.n_queries * seconds_per_query
    hours: dict[str, float | str] = {HOURS: seconds / 3600}
    return {"bytes of index": text * ELASTICSEARCH_INDEX_BYTES, **hours} if loaded else hours


def qdrant_work(
    sizes: Sizes, protocol: str, *, exact: bool, loaded: bool
) -> dict[str, float | str]:
    """Server memory for vectors and graph, and hours to upload, to build the graph and to search.

    Args:
        sizes: The data's sizes.
        protocol: `rest` or `grpc`.
        exact: Whether the search is exact, without a graph.
        loaded: Whether the embeddings are loaded; False for an existing collection.
    """
    if sizes.dimension is None:
        return {
            "memory": "unknown until the encoder's dimension is known "
            "(`collect.expected_size.dimension`)"
        }
    values = float(sizes.passages * sizes.dimension)
    memory = {"bytes of server memory": values * 4 * (1.0 if exact else QDRANT_OVERHEAD)}
    if exact:
        return {**memory, **exact_work(sizes)}
    growth = max(1.0, math.log(max(2, sizes.passages)) / math.log(QDRANT_GRAPH_MEASURED))
    seconds = sizes.n_queries / QDRANT_QUERIES_PER_SECOND[protocol] * growth
    if loaded:
        seconds += values / QDRANT_VALUES_PER_SECOND[protocol]
        seconds += values / QDRANT_GRAPH_VALUES_PER_SECOND * growth
    return {**memory, HOURS: seconds / 3600}


def bm25_work(sizes: Sizes) -> dict[str, float | str]:
    """Bytes of the embedded index, which is memory-mapped."""
    return {"bytes of index": sizes.passages * sizes.passage_bytes / BYTES_PER_TERM * POSTING_BYTES}


def exact_work(sizes: Sizes) -> dict[str, float | str]:
    """FLOPs of comparing every query with every vector."""
    if sizes.dimension is None:
        return {}
    return {"flop in all": 2.0 * sizes.n_queries * sizes.passages * sizes.dimension}
