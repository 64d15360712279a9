"""Loading embeddings into a collection with requests that can be repeated without harm.

A point's id is its passage's row, so that loading a row twice changes nothing, and the server can
count which rows are missing. (`upload_collection` is no faster, and repeats a request without end
while it gets a 429.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, grpc, models

from recipekit.component import Progress
from recipekit.engines.connection import Connection
from recipekit.engines.parallel import map_in_order

__all__ = ["count_points", "load_missing"]

BLOCK_ROWS: Final = 10_000
"""Rows that are counted together to find missing ones."""


def load_missing(
    connection: Connection[QdrantClient],
    name: str,
    matrix: npt.NDArray[Any],
    *,
    is_new: bool,
    batch_size: int,
    concurrency: int,
    use_grpc: bool,
    progress: Progress,
) -> None:
    """Load every row of a matrix (n, dim) that the collection does not hold yet.

    Raises:
        ComponentError: The server fails.
    """
    upsert = _upsert_by_grpc if use_grpc else _upsert_by_rest

    def send(start: int) -> int:
        vectors = np.asarray(matrix[start : start + batch_size], np.float32).tolist()
        connection.call(lambda client: upsert(client, name, start, vectors), name)
        return len(vectors)

    block_rows = max(batch_size, BLOCK_ROWS // batch_size * batch_size)
    with progress.track("qdrant load", total=len(matrix), unit="passages") as tracker:

        def missing_batches() -> Iterator[int]:
            for start in range(0, len(matrix), block_rows):
                block = range(start, min(start + block_rows, len(matrix)))
                if not is_new and count_points(connection, name, block) == len(block):
                    tracker.advance(len(block))
                else:
                    yield from block[::batch_size]

        for rows in map_in_order(send, missing_batches(), threads=concurrency, name="qdrant"):
            tracker.advance(rows)


def count_points(
    connection: Connection[QdrantClient], name: str, rows: Sequence[int] | None = None
) -> int:
    """The exact number of points in a collection, or of those with certain ids."""
    among = None
    if rows is not None:
        among = models.Filter(must=[models.HasIdCondition(has_id=list(rows))])
    return connection.call(
        lambda client: client.count(name, count_filter=among, exact=True), name
    ).count


def _upsert_by_rest(
    client: QdrantClient, name: str, start: int, vectors: list[list[float]]
) -> None:
    ids = list(range(start, start + len(vectors)))
    client.upsert(name, points=models.Batch(ids=ids, vectors=vectors), wait=True)


def _upsert_by_grpc(
    client: QdrantClient, name: str, start: int, vectors: list[list[float]]
) -> None:
    # Not client.upsert(), which converts vectors at two thirds of this speed.
    points = [
        grpc.PointStruct(
            id=grpc.PointId(num=row),
            vectors=grpc.Vectors(vector=grpc.Vector(dense=grpc.DenseVector(data=vector))),
        )
        for row, vector in enumerate(vectors, start)
    ]
    client.grpc_points.Upsert(
        grpc.UpsertPoints(collection_name=name, points=points, wait=True),
        timeout=client.init_options["timeout"],
    )
