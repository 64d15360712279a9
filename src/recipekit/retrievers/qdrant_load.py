"""Embeddings into a Qdrant collection of ours: in parallel, resumably, indexed at the end, and
complete or not at all.

A point's id is its passage's row, so that loading a row twice changes nothing, and what is missing
can be asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.component import Progress
from recipekit.engines.parallel import in_order
from recipekit.engines.qdrant import QdrantServer
from recipekit.engines.qdrant_failures import failure_of
from recipekit.errors import ComponentError
from recipekit.retrievers.engine import OwnershipTag
from recipekit.retrievers.qdrant_collections import count, description, mark_in, metadata
from recipekit.retrievers.qdrant_settings import CollectionSettings, vector_params

if TYPE_CHECKING:
    from qdrant_client import models

__all__ = ["load", "wait_until_indexed"]

INDEX_FROM_KB: Final = 10_000
"""Kilobytes of vectors from which a segment gets a graph; a smaller one is read whole, which is
exact. Qdrant's own default.
"""
BLOCK: Final = 10_000
"""Rows that are asked for at once, to see which of them are missing."""
ROUNDS: Final = 3
"""How often missing rows are loaded before it is given up."""


def load(
    server: QdrantServer,
    mark: OwnershipTag,
    matrix: npt.NDArray[Any],
    settings: CollectionSettings,
    progress: Progress,
    *,
    concurrency: int,
    batch: int,
) -> bool:
    """Bring a collection to hold every row of a matrix, indexed; returns whether there was anything
    to do.

    Raises:
        ComponentError: The server failed for good, or the collection is another's or was changed.
    """
    name = mark.name
    info = description(server, name)
    if info is None:
        _create(server, mark, settings)
        info = server.ask(lambda client: client.get_collection(name), name)
    found = mark_in(info)
    if found is None:
        raise ComponentError(
            f"{server.named(name)} does not bear recipekit's mark: rename it, its name is ours",
            code="RK269",
        )
    present = count(server, name)
    if found.complete and present == mark.rows:
        wait_until_indexed(server, name, mark.rows, progress)
        return False
    if found.complete:
        progress.warn(
            f"{server.named(name)} held {mark.rows} points when it was done and now holds {present}: somebody changed it"
        )
        server.ask(
            lambda client: client.update_collection(name, metadata=metadata(mark, complete=False)),
            name,
        )
    elif present:
        progress.info(
            f"{server.named(name)}: {present} of {mark.rows} points are there from an earlier attempt"
        )
    _fill(server, name, matrix, present, progress, concurrency, batch)
    _index(server, mark, settings, progress)
    return True


def _create(server: QdrantServer, mark: OwnershipTag, settings: CollectionSettings) -> None:
    from qdrant_client import QdrantClient, models

    def create(client: QdrantClient) -> None:
        try:
            client.create_collection(
                mark.name,
                vectors_config=vector_params(settings),
                shard_number=settings.shards,
                replication_factor=settings.replication,
                hnsw_config=models.HnswConfigDiff(m=0),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
                metadata=metadata(mark, complete=False),
            )
        except Exception as error:
            failure = failure_of(error)
            if failure is None or failure.kind != "exists":
                raise
            # Another run was faster, or an attempt whose answer was lost: it is the same one.

    server.ask(create, mark.name)


def _fill(
    server: QdrantServer,
    name: str,
    matrix: npt.NDArray[Any],
    present: int,
    progress: Progress,
    concurrency: int,
    batch: int,
) -> None:
    """Load the rows that are missing, until the exact count is right."""
    rows = len(matrix)
    upsert = _upsert_grpc if server.address.protocol == "grpc" else _upsert_rest

    def send(start: int) -> int:
        stop = min(start + batch, rows)
        vectors = np.asarray(matrix[start:stop], np.float32)
        server.ask(lambda client: upsert(client, name, start, vectors), name)
        return stop - start

    for _ in range(ROUNDS):
        with progress.track("qdrant load", total=rows, unit="passages") as tracker:
            missing = _missing(server, name, rows, batch, present, tracker.advance)
            for sent in in_order(send, missing, threads=concurrency, name="qdrant"):
                tracker.advance(sent)
        present = count(server, name)
        if present == rows:
            return
        if present > rows:
            raise ComponentError(
                f"{server.named(name)} holds {present} points of {rows} passages: somebody wrote to it; delete it, then run again",
                code="RK269",
            )
    raise ComponentError(
        f"{server.named(name)} holds {present} points where {rows} were loaded, {ROUNDS} times over: it loses what it is given",
        code="RK269",
    )


def _missing(
    server: QdrantServer,
    name: str,
    rows: int,
    batch: int,
    present: int,
    skip: Callable[[int], None],
) -> Iterator[int]:
    """The first rows of the batches to send: all of an empty collection, else those in blocks that
    are not whole.
    """
    block = max(batch, BLOCK // batch * batch)
    for start in range(0, rows, block):
        stop = min(start + block, rows)
        if present and count(server, name, range(start, stop)) == stop - start:
            skip(stop - start)
        else:
            yield from range(start, stop, batch)


def _upsert_rest(client: Any, name: str, start: int, vectors: npt.NDArray[np.float32]) -> None:
    from qdrant_client import models

    client.upsert(
        name,
        points=models.Batch(ids=list(range(start, start + len(vectors))), vectors=vectors.tolist()),
        wait=True,
    )


def _upsert_grpc(client: Any, name: str, start: int, vectors: npt.NDArray[np.float32]) -> None:
    from qdrant_client import grpc

    # As the client's own uploader does: its upsert() would make a pydantic model of every vector
    # first.
    points = [
        grpc.PointStruct(
            id=grpc.PointId(num=row),
            vectors=grpc.Vectors(vector=grpc.Vector(dense=grpc.DenseVector(data=vector))),
        )
        for row, vector in enumerate(vectors.tolist(), start)
    ]
    client.grpc_points.Upsert(
        grpc.UpsertPoints(collection_name=name, points=points, wait=True),
        timeout=client.init_options["timeout"],
    )


def _index(
    server: QdrantServer, mark: OwnershipTag, settings: CollectionSettings, progress: Progress
) -> None:
    """Let the server index what was put off, and say that the collection is whole once it has."""
    from qdrant_client import models

    m = 0 if settings.exact else settings.hnsw.m
    hnsw = models.HnswConfigDiff(m=m, ef_construct=settings.hnsw.ef_construct)
    optimizers = models.OptimizersConfigDiff(indexing_threshold=INDEX_FROM_KB)
    server.ask(
        lambda client: client.update_collection(
            mark.name, hnsw_config=hnsw, optimizers_config=optimizers
        ),
        mark.name,
    )
    wait_until_indexed(server, mark.name, mark.rows, progress)
    server.ask(
        lambda client: client.update_collection(mark.name, metadata=metadata(mark, complete=True)),
        mark.name,
    )


def wait_until_indexed(server: QdrantServer, name: str, rows: int, progress: Progress) -> None:
    """Return when the server has nothing left to optimize.

    Raises:
        ComponentError: Its optimizer failed.
    """
    from qdrant_client import models

    info = server.ask(lambda client: client.get_collection(name), name)
    if info.status.value == "green":
        return
    if info.status.value == "grey":  # since the server was started again it waits for a word
        optimizers = models.OptimizersConfigDiff(indexing_threshold=INDEX_FROM_KB)
        server.ask(
            lambda client: client.update_collection(name, optimizers_config=optimizers), name
        )
    seconds, shown = 0.05, 0
    with progress.track("qdrant index", total=rows, unit="passages") as tracker:
        while info.status.value != "green":
            _check_optimizer(server, name, info)
            time.sleep(seconds)
            seconds = min(2.0, seconds * 1.5)
            info = server.ask(lambda client: client.get_collection(name), name)
            now = min(rows, info.indexed_vectors_count or 0)
            tracker.advance(max(0, now - shown))
            shown = max(shown, now)


def _check_optimizer(server: QdrantServer, name: str, info: models.CollectionInfo) -> None:
    error = getattr(info.optimizer_status, "error", None)
    if info.status.value == "red" or error:
        fix = "see to the server (its disk, its memory, its log), then run again"
        raise ComponentError(
            f"{server.named(name)} cannot be indexed ({error or 'status red'}): {fix}", code="RK266"
        )
