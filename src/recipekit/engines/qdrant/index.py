"""recipekit's own collections: creating, loading, resuming, reusing, listing and removing them."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy.typing as npt
from qdrant_client import QdrantClient, models

from recipekit.component import Progress, RemoteIndex
from recipekit.engines.connection import Connection
from recipekit.engines.qdrant.load import count_points, load_missing
from recipekit.engines.qdrant.settings import CollectionSettings
from recipekit.engines.tags import PREFIX, OwnershipTag
from recipekit.errors import ComponentError

__all__ = ["QdrantCollections", "ensure_collection"]

INDEXING_THRESHOLD_KB: Final = 10_000
"""Kilobytes of vectors from which a segment gets a graph; a smaller one is searched exactly.
Qdrant's default.
"""


def ensure_collection(
    connection: Connection[QdrantClient],
    tag: OwnershipTag,
    matrix: npt.NDArray[Any],
    settings: CollectionSettings,
    *,
    batch_size: int,
    concurrency: int,
    use_grpc: bool,
    progress: Progress,
) -> bool:
    """Create the collection, or complete or reuse the existing one; return whether it was loaded.

    Args:
        connection: The server.
        tag: Describes the collection.
        matrix: The embeddings, (n, dim).
        settings: How the collection stores them.
        batch_size: Rows per request.
        concurrency: Parallel requests.
        use_grpc: Whether the client uses gRPC.
        progress: Shows the rows loaded and indexed.

    Raises:
        ComponentError: The server fails, or the collection was made or changed by someone else.
    """
    name = tag.name
    stored = _find_or_create(connection, tag, settings)
    held = count_points(connection, name)
    if stored.complete and held == tag.rows:
        _wait_until_indexed(connection, tag, progress)
        return False
    _state_points(connection, tag, progress, held, was_complete=stored.complete)
    if stored.complete:
        _set_complete(connection, tag, complete=False)
    load_missing(
        connection,
        name,
        matrix,
        is_new=held == 0,
        batch_size=batch_size,
        concurrency=concurrency,
        use_grpc=use_grpc,
        progress=progress,
    )
    _check_all_held(connection, tag)
    _build_index(connection, name, settings)
    _wait_until_indexed(connection, tag, progress)
    _set_complete(connection, tag, complete=True)
    return True


def _state_points(
    connection: Connection[QdrantClient],
    tag: OwnershipTag,
    progress: Progress,
    held: int,
    *,
    was_complete: bool,
) -> None:
    """Report the points that a collection holds before it is loaded."""
    if was_complete:
        progress.warn(
            f"{connection.named(tag.name)} held {tag.rows} points when it was complete and now "
            f"holds {held}: someone changed it"
        )
    elif held:
        progress.info(
            f"{connection.named(tag.name)}: {held} of {tag.rows} points are kept from an earlier "
            "run"
        )


def _check_all_held(connection: Connection[QdrantClient], tag: OwnershipTag) -> None:
    """Check that the collection holds one point for each passage.

    Raises:
        ComponentError: It does not.
    """
    held = count_points(connection, tag.name)
    if held != tag.rows:
        raise ComponentError(
            f"{connection.named(tag.name)} holds {held} points for {tag.rows} passages: someone "
            "else changed it; delete it, then run again",
            code="RK269",
        )


def _find_or_create(
    connection: Connection[QdrantClient], tag: OwnershipTag, settings: CollectionSettings
) -> OwnershipTag:
    """Return the tag of the collection, which is created if it does not exist.

    Raises:
        ComponentError: It belongs to someone else.
    """
    name = tag.name
    info = connection.try_call(lambda client: client.get_collection(name), name)
    if info is None:
        _create(connection, tag, settings)
        info = connection.call(lambda client: client.get_collection(name), name)
    stored = OwnershipTag.from_metadata(info.config.metadata)
    if stored is None or not tag.matches(stored):
        raise ComponentError(
            f"{connection.named(name)} has no ownership tag of recipekit: rename or remove it",
            code="RK269",
        )
    return stored


def _build_index(
    connection: Connection[QdrantClient], name: str, settings: CollectionSettings
) -> None:
    """Let the server build the graph, which `_create` has put off."""
    optimizers = models.OptimizersConfigDiff(indexing_threshold=INDEXING_THRESHOLD_KB)
    connection.call(
        lambda client: client.update_collection(
            name, hnsw_config=settings.hnsw_config(), optimizers_config=optimizers
        ),
        name,
    )


def _create(
    connection: Connection[QdrantClient], tag: OwnershipTag, settings: CollectionSettings
) -> None:
    """Create a collection that is not indexed until it is loaded."""
    # A collection that exists was created by an attempt whose reply was lost, or by a parallel run,
    # which loads the same points.
    connection.try_call(
        lambda client: client.create_collection(
            tag.name,
            vectors_config=settings.vector_params(),
            shard_number=settings.shard_number,
            replication_factor=settings.replication_factor,
            hnsw_config=models.HnswConfigDiff(m=0),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
            metadata=tag.metadata(complete=False),
        ),
        tag.name,
        accept="exists",
    )


def _set_complete(
    connection: Connection[QdrantClient], tag: OwnershipTag, *, complete: bool
) -> None:
    metadata = tag.metadata(complete=complete)
    connection.call(lambda client: client.update_collection(tag.name, metadata=metadata), tag.name)


def _wait_until_indexed(
    connection: Connection[QdrantClient], tag: OwnershipTag, progress: Progress
) -> None:
    """Return when the server has nothing left to optimize.

    Raises:
        ComponentError: Its optimizer failed.
    """
    name = tag.name

    def current() -> models.CollectionInfo:
        return connection.call(lambda client: client.get_collection(name), name)

    info = current()
    if info.status.value == "green":
        return
    if info.status.value == "grey":  # a restarted server optimizes after an update
        optimizers = models.OptimizersConfigDiff(indexing_threshold=INDEXING_THRESHOLD_KB)
        connection.call(
            lambda client: client.update_collection(name, optimizers_config=optimizers), name
        )
    seconds, shown = 0.05, 0
    with progress.track("qdrant index", total=tag.rows, unit="passages") as tracker:
        while info.status.value != "green":
            error = getattr(info.optimizer_status, "error", None)
            if info.status.value == "red" or error:
                raise ComponentError(
                    f"{connection.named(name)} cannot be indexed ({error or 'status red'}): check "
                    "the server's disk, memory and log, then run again",
                    code="RK266",
                )
            time.sleep(seconds)
            seconds = min(2.0, seconds * 1.5)
            info = current()
            indexed = min(tag.rows, info.indexed_vectors_count or 0)
            tracker.advance(max(0, indexed - shown))
            shown = max(shown, indexed)


class QdrantCollections:
    """The collections that recipekit made on a server."""

    def __init__(self, connection: Connection[QdrantClient]) -> None:
        self._connection = connection

    @property
    def server(self) -> str:
        """The name of the server."""
        return self._connection.server

    def indices(self) -> list[RemoteIndex]:
        """Every collection with an ownership tag."""
        listed = self._connection.call(lambda client: client.get_collections()).collections
        found = []
        for name in sorted(one.name for one in listed if one.name.startswith(PREFIX)):
            info = self._info(name)
            tag = OwnershipTag.from_metadata(info.config.metadata) if info else None
            if info and tag:
                found.append(tag.describe(name, rows=info.points_count or 0, size=0))
        return found

    def remove(self, name: str) -> None:
        """Remove a collection.

        Raises:
            ComponentError: It has no ownership tag.
        """
        info = self._info(name)
        if info is None:
            return
        if OwnershipTag.from_metadata(info.config.metadata) is None:
            raise ComponentError(
                f"{self._connection.named(name)} was not made by recipekit, and is not removed",
                code="RK269",
            )
        self._connection.call(lambda client: client.delete_collection(name), name)

    def _info(self, name: str) -> models.CollectionInfo | None:
        return self._connection.try_call(lambda client: client.get_collection(name), name)
