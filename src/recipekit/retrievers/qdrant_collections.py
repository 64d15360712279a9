"""Collections on a Qdrant server: which are ours, and what tells one state of somebody else's from
another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from recipekit.artifacts.key import canonical
from recipekit.component import RemoteIndex
from recipekit.engines.qdrant import QdrantServer
from recipekit.errors import ComponentError
from recipekit.retrievers.engine import PREFIX, OwnershipTag

if TYPE_CHECKING:
    from qdrant_client import models

__all__ = [
    "QdrantCollections",
    "count",
    "description",
    "fingerprint",
    "mark_in",
    "metadata",
    "vector_size",
]

MARK: Final = "recipekit"
"""Under this name the mark stands in a collection's metadata."""
PROBE: Final = 32
"""Points whose content is looked at, to know a collection again."""


def description(server: QdrantServer, name: str) -> models.CollectionInfo | None:
    """What the server tells of a collection; None where there is none of that name."""
    if not server.ask(lambda client: client.collection_exists(name), name):
        return None
    return server.ask(lambda client: client.get_collection(name), name)


def mark_in(info: models.CollectionInfo) -> OwnershipTag | None:
    """Our mark on a collection; None on everybody else's."""
    return OwnershipTag.read((info.config.metadata or {}).get(MARK))


def metadata(mark: OwnershipTag, *, complete: bool) -> dict[str, Any]:
    """The mark as a collection keeps it."""
    return {MARK: replace(mark, complete=complete).as_json()}


def count(server: QdrantServer, name: str, rows: Sequence[int] | None = None) -> int:
    """How many points a collection holds, exactly; of some rows, where they are given."""
    from qdrant_client import models

    among = (
        models.Filter(must=[models.HasIdCondition(has_id=list(rows))]) if rows is not None else None
    )
    return server.ask(lambda client: client.count(name, count_filter=among, exact=True), name).count


def vector_size(
    server: QdrantServer, name: str, info: models.CollectionInfo, vector: str | None
) -> int:
    """Dimensions of a collection's vectors.

    Raises:
        ComponentError: It has no dense vectors of that name.
    """
    params = info.config.params.vectors
    named = params if isinstance(params, dict) else {"": params} if params is not None else {}
    if (vector or "") not in named:
        has = ", ".join(f"'{known}'" for known in named if known) or "only vectors without a name"
        wanted = f"no vectors called '{vector}'" if vector else "no vectors without a name"
        raise ComponentError(
            f"{server.named(name)} has {wanted}: it has {has}; say which as `vector`", code="RK269"
        )
    return named[vector or ""].size


def fingerprint(
    server: QdrantServer, name: str, id_field: str | None, vector: str | None
) -> dict[str, Any]:
    """What changes when a collection does: how many points, how they are kept, and the content of
    the first few.

    Raises:
        ComponentError: It cannot be reached, or there is no such collection.
    """
    info = server.ask(lambda client: client.get_collection(name), name)
    payload = [id_field] if id_field else False
    wanted: Any = [vector] if vector else True
    points, _ = server.ask(
        lambda client: client.scroll(name, limit=PROBE, with_payload=payload, with_vectors=wanted),
        name,
    )
    content = canonical([[str(point.id), point.payload, point.vector] for point in points])
    params = info.config.params.model_dump(mode="json", exclude_none=True)
    hnsw = info.config.hnsw_config.model_dump(
        mode="json", exclude_none=True, exclude={"max_indexing_threads"}
    )
    return {
        "points": count(server, name),
        "vectors": params.get("vectors"),
        "hnsw": hnsw,
        "first_points": hashlib.sha256(content.encode()).hexdigest()[:16],
    }


class QdrantCollections:
    """What recipekit made on a server."""

    def __init__(self, server: QdrantServer) -> None:
        self._server = server

    @property
    def server(self) -> str:
        """The server, as it is called."""
        return self._server.named()

    def indices(self) -> list[RemoteIndex]:
        """Every collection that bears our mark."""
        listed = self._server.ask(lambda client: client.get_collections()).collections
        found = []
        for name in sorted(
            collection.name for collection in listed if collection.name.startswith(PREFIX)
        ):
            info = description(self._server, name)
            mark = mark_in(info) if info else None
            if info and mark:
                found.append(RemoteIndex(name, mark.owner, mark.corpus, info.points_count or 0, 0))
        return found

    def remove(self, name: str) -> None:
        """Delete a collection of ours.

        Raises:
            ComponentError: It is not ours.
        """
        info = description(self._server, name)
        if info is None:
            return
        if mark_in(info) is None:
            raise ComponentError(
                f"{self._server.named(name)} was not made by recipekit, and is not removed",
                code="RK269",
            )
        self._server.ask(lambda client: client.delete_collection(name), name)
