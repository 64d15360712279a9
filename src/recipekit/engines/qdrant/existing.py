"""Collections that recipekit did not make: their state and their vectors."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
from qdrant_client import QdrantClient, models

from recipekit.artifacts.key import canonical
from recipekit.engines.connection import Connection
from recipekit.engines.qdrant.load import count_points
from recipekit.engines.qdrant.settings import DISTANCES
from recipekit.errors import ComponentError
from recipekit.records import Similarity

__all__ = ["check_vectors", "fingerprint", "vector_params"]

UNIT_TOLERANCE: Final = 0.01
"""How far from 1 the length of a stored vector may be, since a server may round to float16."""
PROBED_POINTS: Final = 32
"""Points whose content is part of the fingerprint."""


def fingerprint(
    connection: Connection[QdrantClient], name: str, id_field: str | None, vector_name: str | None
) -> dict[str, Any]:
    """A value that changes with a collection: its size, settings, and the first points' content.

    Raises:
        ComponentError: The collection does not exist, or the request fails.
    """
    info = connection.call(lambda client: client.get_collection(name), name)
    points, _ = connection.call(
        lambda client: client.scroll(
            name,
            limit=PROBED_POINTS,
            with_payload=[id_field] if id_field else False,
            with_vectors=[vector_name] if vector_name else True,
        ),
        name,
    )
    content = canonical([[str(point.id), point.payload, point.vector] for point in points])
    return {
        "points": count_points(connection, name),
        "vectors": info.config.params.model_dump(mode="json", exclude_none=True).get("vectors"),
        "hnsw": info.config.hnsw_config.model_dump(
            mode="json", exclude_none=True, exclude={"max_indexing_threads"}
        ),
        "first_points": hashlib.sha256(content.encode()).hexdigest()[:16],
    }


def vector_params(
    connection: Connection[QdrantClient], name: str, vector_name: str | None
) -> models.VectorParams:
    """Return dimension and distance of a collection's vectors.

    Raises:
        ComponentError: The collection does not exist, or has no dense vectors of that name.
    """
    info = connection.call(lambda client: client.get_collection(name), name)
    params = info.config.params.vectors
    named = params if isinstance(params, dict) else {"": params} if params else {}
    vectors = named.get(vector_name or "")
    if vectors is None:
        known = ", ".join(f"'{known}'" for known in named if known) or "only an unnamed vector"
        wanted = f"vector '{vector_name}'" if vector_name else "unnamed vector"
        raise ComponentError(
            f"{connection.named(name)} has no {wanted}: it has {known}; set `vector_name`",
            code="RK269",
        )
    return vectors


def check_vectors(
    connection: Connection[QdrantClient],
    name: str,
    vector_name: str | None,
    dimension: int,
    similarity: Similarity,
) -> None:
    """Check that a collection has dense vectors that rank as an encoder's embeddings do.

    Raises:
        ComponentError: It has none of that name, or they have another dimension, or the collection
            compares them in another way than the encoder.
    """
    subject = connection.named(name)
    vectors = vector_params(connection, name, vector_name)
    if vectors.size != dimension:
        raise ComponentError(
            f"{subject} holds vectors of {vectors.size} dimensions, but the encoder's embeddings "
            f"have {dimension}: name the encoder that filled it",
            code="RK269",
        )
    distance = vectors.distance.value
    if distance not in DISTANCES[similarity]:
        raise ComponentError(
            f"{subject} compares vectors by {distance}, but the encoder's similarity is "
            f"{similarity}: name the encoder that filled it, or set the encoder's `similarity`",
            code="RK269",
        )
    if similarity == "cosine" and distance == "Dot":
        _check_unit_length(connection, name, vector_name)


def _check_unit_length(
    connection: Connection[QdrantClient], name: str, vector_name: str | None
) -> None:
    """Check on a few points that the inner product of a collection is the cosine.

    Raises:
        ComponentError: A vector does not have length 1.
    """
    points, _ = connection.call(
        lambda client: client.scroll(
            name,
            limit=PROBED_POINTS,
            with_payload=False,
            with_vectors=[vector_name] if vector_name else True,
        ),
        name,
    )
    for point in points:
        vector = point.vector
        if isinstance(vector, dict):
            vector = vector[vector_name or ""]  # type: ignore[assignment]
        length = float(np.linalg.norm(np.asarray(vector, np.float32)))
        if abs(length - 1) > UNIT_TOLERANCE:
            raise ComponentError(
                f"{connection.named(name)} compares vectors by Dot, and that of point {point.id} "
                f"has length {length:.3g}, but the encoder's similarity is cosine: fill it with "
                "vectors of length 1, or set `similarity: dot` for the encoder",
                code="RK269",
            )
