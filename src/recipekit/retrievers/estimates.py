"""What retrievers take, for `plan`: bytes from the data's sizes, hours from rates that were
measured.

The rates are those of two shared cores in November 2026, servers and client together, by
tests/benchmarks/bench_elasticsearch.py and bench_qdrant.py: 100,000 passages of 390 bytes, or
vectors of 384 dimensions. A cluster of your own is faster; what a plan says is an order of
magnitude, and says so.
"""

from __future__ import annotations

import math
from typing import Final

from recipekit.component import Sizes

__all__ = ["bm25_work", "elasticsearch_work", "exact_work", "qdrant_work"]

RATE: Final = "hours at the rates of two cores"

ELASTICSEARCH_TEXT_PER_SECOND: Final = 1.1e7
"""Bytes of text indexed."""
ELASTICSEARCH_SECONDS_PER_QUERY: Final = 0.33e-3
ELASTICSEARCH_SECONDS_PER_QUERY_AND_PASSAGE: Final = 4.6e-9
"""At depth 100: 1,260 queries a second over 100,000 passages, and over MS MARCO's 8.8 million the
12 a second and core that bm25s' paper (arXiv 2407.03618) found."""
ELASTICSEARCH_INDEX_BYTES: Final = 0.76
"""Of the index a byte of text: 0.774 on scifact, 0.755 on nfcorpus; the sources of the documents
are not stored.
"""

QDRANT_VALUES_PER_SECOND: Final = {"rest": 11_900 * 384.0, "grpc": 28_400 * 384.0}
"""Numbers uploaded: vectors times dimensions."""
QDRANT_OVERHEAD: Final = 1.5
"""Of the memory for vectors, graph and ids, in bytes of the bare vectors.

Qdrant's own rule of thumb.
"""
QDRANT_GRAPH_VALUES_PER_SECOND: Final = 1_880 * 384.0
"""Numbers brought into the graph: 100,000 vectors took 53 s; each takes longer as the graph grows,
with its logarithm.
"""
QDRANT_GRAPH_MEASURED: Final = 100_000
QDRANT_QUERIES_PER_SECOND: Final = {"rest": 540.0, "grpc": 751.0}
"""At depth 100, by the graph over 100,000 vectors."""

POSTING_BYTES: Final = 8
"""bm25s keeps a passage's row and a score for every distinct term of it."""
BYTES_PER_TERM: Final = 15.0
"""Of text for each distinct term of a passage, stop words left out: 14.9 on nfcorpus, 15.2 on
scifact.
"""


def elasticsearch_work(sizes: Sizes, *, made: bool) -> dict[str, float | str]:
    """Bytes of an index made from the collected passages, where it is to be made, and hours to make
    and to search it.
    """
    text = sizes.passages * sizes.passage_bytes if made else 0.0
    query = (
        ELASTICSEARCH_SECONDS_PER_QUERY
        + sizes.passages * ELASTICSEARCH_SECONDS_PER_QUERY_AND_PASSAGE
    )
    seconds = text / ELASTICSEARCH_TEXT_PER_SECOND + sizes.n_queries * query
    return {
        **({"bytes of index": text * ELASTICSEARCH_INDEX_BYTES} if made else {}),
        RATE: seconds / 3600,
    }


def qdrant_work(sizes: Sizes, protocol: str, *, exact: bool, made: bool) -> dict[str, float | str]:
    """Bytes of memory that the server's vectors and graph take, and hours to upload, to build the
    graph and to search.
    """
    growth = max(1.0, math.log(max(2, sizes.passages)) / math.log(QDRANT_GRAPH_MEASURED))
    queries = sizes.n_queries / QDRANT_QUERIES_PER_SECOND[protocol] * growth
    if sizes.dimension is None:
        return {
            "memory": "unknown until the encoder's dimension is known (`collect.expected_size.dimension`)"
        }
    values = float(sizes.passages * sizes.dimension)
    held = values * 4 * (1.0 if exact else QDRANT_OVERHEAD)
    told: dict[str, float | str] = {"bytes of server memory": held}
    if exact:
        return {**told, **exact_work(sizes)}
    made_in = (
        values / QDRANT_VALUES_PER_SECOND[protocol]
        + values / QDRANT_GRAPH_VALUES_PER_SECOND * growth
    )
    return {**told, RATE: (made_in * made + queries) / 3600}


def bm25_work(sizes: Sizes) -> dict[str, float | str]:
    """Bytes of the embedded index, which is memory-mapped and whose scores are made in memory."""
    return {"bytes of index": sizes.passages * sizes.passage_bytes / BYTES_PER_TERM * POSTING_BYTES}


def exact_work(sizes: Sizes) -> dict[str, float | str]:
    """Operations of reading every vector for every query, multiplications and additions counted
    apart.
    """
    if sizes.dimension is None:
        return {}
    return {"flop in all": 2.0 * sizes.n_queries * sizes.passages * sizes.dimension}
