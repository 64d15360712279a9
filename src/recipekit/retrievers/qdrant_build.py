"""What a `Qdrant` spec builds: a retriever over a collection of ours, over one that exists, or over
files in the cache.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recipekit.arrays import Floats
from recipekit.component import Context, Embeddings, Hits
from recipekit.engines.qdrant import QdrantAddress, QdrantServer
from recipekit.errors import ComponentError
from recipekit.retrievers.engine import IdRows, UnknownIds, mark_of
from recipekit.retrievers.qdrant_collections import vector_size
from recipekit.retrievers.qdrant_load import load
from recipekit.retrievers.qdrant_search import QdrantRetriever, ServerPoints, recall
from recipekit.retrievers.qdrant_settings import CollectionSettings

if TYPE_CHECKING:
    from recipekit.retrievers.qdrant import QdrantSpec

__all__ = ["build", "server_of"]

EMBEDDED_UP_TO: Final = 1_000_000
"""Passages: embedded, one machine alone builds the index, and one process searches it."""
LOW_RECALL: Final = 0.9
"""Recall against exact search below which a warning says what raises it."""


def server_of(
    spec: QdrantSpec,
    *,
    attempts: int | None = None,
    timeout: float = math.inf,
    context: Context | None = None,
) -> QdrantServer:
    """The server that a spec names.

    `attempts` and `timeout` (seconds) for one that somebody is waiting for.
    """
    waits = min(spec.timeout, timeout)
    address = QdrantAddress(
        spec.url, spec.api_key, spec.protocol, spec.grpc_port, waits, attempts or spec.attempts
    )
    return QdrantServer(address, warn=context.progress.warn) if context else QdrantServer(address)


def build(spec: QdrantSpec, context: Context) -> QdrantRetriever:
    """Make the retriever. All ranks encode; the main rank alone speaks to a server, while the
    others wait.

    Raises:
        ComponentError: The server failed for good, or an existing collection does not fit.
    """
    server = None if spec.where == "embedded" else server_of(spec, context=context)
    if server and context.ranks.is_main:
        server.check_version()  # before texts are encoded, which can take hours
    queries = context.embeddings(spec.encoder, "query")
    passages = None if spec.collection else context.embeddings(spec.encoder, "passage")
    if server is None:
        assert passages is not None
        retriever = _embedded(spec, context, queries, passages)
    elif passages is None:
        retriever = _existing(spec, server, context, queries)
    else:
        retriever = _ours(spec, server, context, queries, passages)
    if context.ranks.is_main and not spec.exact:
        _measure(spec, context, retriever, passages)
    context.ranks.barrier()
    return retriever


def _ours(
    spec: QdrantSpec,
    server: QdrantServer,
    context: Context,
    queries: Embeddings,
    passages: Embeddings,
) -> QdrantRetriever:
    settings = _settings(spec, passages)
    mark = mark_of(
        "qdrant",
        _identity(spec, passages),
        owner=context.owner,
        corpus=context.corpus,
        rows=len(passages),
    )
    if context.ranks.is_main:
        loaded = load(
            server,
            mark,
            passages.matrix,
            settings,
            context.progress,
            concurrency=spec.concurrency,
            batch=spec.batch_size,
        )
        context.progress.log("qdrant", collection=mark.name, rows=mark.rows, loaded=loaded)
    return QdrantRetriever(
        _points(spec, server, mark.name), queries.matrix, len(passages), spec.exact
    )


def _embedded(
    spec: QdrantSpec, context: Context, queries: Embeddings, passages: Embeddings
) -> QdrantRetriever:
    from recipekit.retrievers.qdrant_embedded import open_shard, write_shard

    if len(passages) > EMBEDDED_UP_TO and context.ranks.is_main:
        context.progress.warn(
            f"qdrant: {len(passages)} passages embedded in this process take its memory and its cores alone: "
            "`where: server` spreads them, and `use: exact` searches them on a GPU"
        )
    settings = _settings(spec, passages)
    folder = context.artifact(
        "qdrant",
        _identity(spec, passages),
        lambda folder: write_shard(folder, passages.matrix, settings, context.progress),
    )
    return QdrantRetriever(
        open_shard(folder, spec.hnsw, spec.quantization), queries.matrix, len(passages), spec.exact
    )


def _identity(spec: QdrantSpec, passages: Embeddings) -> dict[str, Any]:
    return {
        "version": spec.version,
        "embeddings": passages.key,
        "settings": _settings(spec, passages).identity,
    }


def _existing(
    spec: QdrantSpec, server: QdrantServer, context: Context, queries: Embeddings
) -> QdrantRetriever:
    assert spec.collection is not None
    points = _points(spec, server, spec.collection)
    if context.ranks.is_main:
        info = server.ask(lambda client: client.get_collection(points.collection), spec.collection)
        size, dimension = (
            vector_size(server, spec.collection, info, spec.vector),
            queries.matrix.shape[1],
        )
        if size != dimension:
            raise ComponentError(
                f"{points.place} holds vectors of {size} dimensions, and encoder '{spec.encoder}' makes {dimension}: "
                "name the encoder that it was filled with",
                code="RK269",
            )
    ids = IdRows(context.dataset.passages, spec.source)
    unknown = UnknownIds(points.place, spec.max_unknown)
    return QdrantRetriever(
        points, queries.matrix, len(context.dataset.passages), spec.exact, ids, unknown
    )


def _points(spec: QdrantSpec, server: QdrantServer, collection: str) -> ServerPoints:
    return ServerPoints(
        server,
        collection,
        spec.vector,
        spec.id_field,
        spec.hnsw,
        spec.quantization,
        spec.query_batch_size,
        spec.concurrency,
    )


def _settings(spec: QdrantSpec, passages: Embeddings) -> CollectionSettings:
    return CollectionSettings(
        dimension=passages.matrix.shape[1],
        half=passages.matrix.dtype == np.float16,
        distance=spec.distance,
        hnsw=spec.hnsw,
        exact=spec.exact,
        quantization=spec.quantization,
        on_disk=spec.on_disk,
        shards=spec.shards,
        replication=spec.replication,
    )


def _measure(
    spec: QdrantSpec, context: Context, retriever: QdrantRetriever, passages: Embeddings | None
) -> None:
    """Compare approximate with exact search on a seeded sample of the queries, and tell."""
    total = len(retriever.queries)
    sample = np.sort(
        np.random.default_rng(context.seed).choice(
            total, min(spec.recall_sample, total), replace=False
        )
    )
    if not len(sample):
        return
    vectors = np.asarray(retriever.queries[sample], np.float32)
    found = retriever.nearest(vectors, spec.depth, exact=False)
    retriever.measured = recall(found, _truth(spec, context, retriever, vectors, passages))
    told = f"qdrant: recall@{spec.depth} against exact search is {retriever.measured:.4f} on {len(sample)} queries"
    if retriever.measured >= LOW_RECALL:
        context.progress.info(told)
    else:
        context.progress.warn(
            f"{told}: raise `hnsw.ef`, `hnsw.m` or `quantization.oversampling`, or set `exact: true`"
        )
    context.progress.log(
        "qdrant_recall", depth=spec.depth, recall=retriever.measured, queries=len(sample)
    )


def _truth(
    spec: QdrantSpec,
    context: Context,
    retriever: QdrantRetriever,
    vectors: Floats,
    passages: Embeddings | None,
) -> Hits:
    """The exact lists: over our own matrix where it ranks alike, which checks what was loaded, too;
    else by the engine.
    """
    if passages is not None and spec.distance == "dot":
        from recipekit.search.topk import exact_top_k

        return exact_top_k(vectors, passages.matrix, spec.depth, device=context.ranks.device)
    return retriever.nearest(vectors, spec.depth, exact=True)
