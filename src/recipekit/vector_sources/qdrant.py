"""Vectors of an existing Qdrant collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from recipekit.component import (
    Context,
    NotIdentity,
    VectorChunk,
    VectorSource,
    VectorSourceSpec,
)
from recipekit.engines.qdrant.access import QdrantAccess
from recipekit.errors import ComponentError
from recipekit.records import Similarity

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from recipekit.engines.connection import Connection

__all__ = ["QdrantVectorsSpec"]

SIMILARITIES: dict[str, Similarity] = {
    "Cosine": "cosine",
    "Dot": "dot",
    "Euclid": "euclidean",
    "Manhattan": "manhattan",
}


class QdrantVectorsSpec(QdrantAccess, VectorSourceSpec):
    """Vectors of an existing Qdrant collection, which is read and never written to.

    Their similarity is the collection's distance.
    """

    live: ClassVar[bool] = True

    collection: str = Field(min_length=1)
    """The collection."""
    vector_name: str | None = None
    """Which of its named vectors; by default the unnamed one."""
    id_field: str | None = None
    """The payload field with a passage's id; by default the point's own id."""
    page_size: Annotated[int, NotIdentity, Field(ge=1, le=10_000)] = 1000
    """Points per request."""

    def fingerprint(self) -> Any:
        """Return the state of the collection."""
        from recipekit.engines.qdrant.existing import fingerprint

        with closing(self.connect_briefly()) as connection:
            return fingerprint(connection, self.collection, self.id_field, self.vector_name)

    def described(self) -> str:
        """Return the collection's name and address."""
        named = f" (vector '{self.vector_name}')" if self.vector_name else ""
        return f"collection '{self.collection}'{named} of Qdrant at {self.address}"

    def build(self, context: Context) -> VectorSource:
        """Read the collection's settings.

        Raises:
            ComponentError: The server fails, or the collection has no such vectors.
        """
        from recipekit.engines.qdrant.client import check_version
        from recipekit.engines.qdrant.existing import vector_params

        connection = self.connect(context.progress.warn)
        check_version(connection, self)
        params = vector_params(connection, self.collection, self.vector_name)
        return _QdrantVectors(self, connection, params.size, SIMILARITIES[params.distance.value])


@dataclass(frozen=True)
class _QdrantVectors:
    spec: QdrantVectorsSpec
    connection: Connection[QdrantClient]
    dimension: int
    similarity: Similarity

    def read(self) -> Iterator[VectorChunk]:
        """Stream the points, page by page."""
        import numpy as np

        offset = None
        while True:
            points, offset = self._page(offset)
            if points:
                ids = [self._id(point) for point in points]
                vectors = [self._vector(point) for point in points]
                yield VectorChunk(ids, np.array(vectors, dtype=np.float32))
            if offset is None:
                return

    def _page(self, offset: Any) -> Any:
        spec = self.spec
        return self.connection.call(
            lambda client: client.scroll(
                spec.collection,
                limit=spec.page_size,
                offset=offset,
                with_payload=[spec.id_field] if spec.id_field else False,
                with_vectors=[spec.vector_name] if spec.vector_name else True,
            ),
            spec.collection,
        )

    def _id(self, point: Any) -> str:
        field = self.spec.id_field
        if field is None:
            return str(point.id)
        value = (point.payload or {}).get(field)
        if value is None or isinstance(value, dict | list):
            raise ComponentError(
                f"{self.connection.named(self.spec.collection)}: point {point.id} has no id in its "
                f"payload field '{field}' (`id_field`)",
                code="RK269",
            )
        return str(value)

    def _vector(self, point: Any) -> Any:
        vector = point.vector
        if isinstance(vector, dict):
            vector = vector.get(self.spec.vector_name or "")
        if vector is None:
            raise ComponentError(
                f"{self.connection.named(self.spec.collection)}: point {point.id} has no vector",
                code="RK269",
            )
        return vector
