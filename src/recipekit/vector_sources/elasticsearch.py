"""Vectors of a `dense_vector` field of an existing Elasticsearch index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from recipekit.engines.elasticsearch.access import ElasticsearchAccess
from recipekit.errors import ComponentError
from recipekit.records import Similarity

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from recipekit.engines.connection import Connection

__all__ = ["ElasticsearchVectorsSpec", "dense_vector_mapping"]

SIMILARITIES: dict[str, Similarity] = {
    "cosine": "cosine",
    "dot_product": "dot",
    "max_inner_product": "dot",
    "l2_norm": "euclidean",
}


class ElasticsearchVectorsSpec(ElasticsearchAccess, VectorSourceSpec):
    """Vectors of a `dense_vector` field of an existing index, which is never written to.

    Their similarity is that of the field's mapping.
    """

    live: ClassVar[bool] = True

    index: str = Field(min_length=1)
    """The index or alias."""
    vector_field: str = Field(default="vector", min_length=1)
    """The `dense_vector` field."""
    id_field: str | None = Field(default=None, min_length=1)
    """The field with a passage's id; by default the document's `_id`."""
    page_size: Annotated[int, NotIdentity, Field(ge=1, le=10_000)] = 1000
    """Documents per request."""

    def fingerprint(self) -> Any:
        """Return the state of the index."""
        from recipekit.engines.elasticsearch.existing import fingerprint

        with closing(self.connect_briefly()) as connection:
            return fingerprint(connection, self.index)

    def described(self) -> str:
        """Return the names of field and index, and the address."""
        where = ", ".join(self.hosts)
        return f"field '{self.vector_field}' of index '{self.index}' of Elasticsearch at {where}"

    def build(self, context: Context) -> VectorSource:
        """Read the field's mapping.

        Raises:
            ComponentError: The server fails, or the index has no such field.
        """
        from recipekit.engines.elasticsearch.client import check_version
        from recipekit.engines.elasticsearch.existing import check_fields

        connection = self.connect(context.progress.warn)
        check_version(connection)
        read = {"vector_field": self.vector_field, "id_field": self.id_field}
        check_fields(connection, self.index, searched={}, read=read)
        mapping = dense_vector_mapping(connection, self.index, self.vector_field)
        return _ElasticsearchVectors(
            self,
            connection,
            int(mapping["dims"]),
            SIMILARITIES[mapping.get("similarity", "cosine")],
        )


def dense_vector_mapping(
    connection: Connection[Elasticsearch], index: str, field: str
) -> Mapping[str, Any]:
    """Return the mapping of a `dense_vector` field.

    Raises:
        ComponentError: The field has another type or no vectors yet, or the indices behind the name
            differ.
    """
    reply = connection.call(
        lambda client: client.indices.get_field_mapping(index=index, fields=field), index
    )
    own = field.rpartition(".")[2]
    found: list[Mapping[str, Any]] = [
        one["mappings"][field]["mapping"].get(own, {})
        for one in reply.values()
        if field in one["mappings"]
    ]
    kinds = sorted({str(one.get("type")) for one in found})
    if kinds != ["dense_vector"]:
        raise ComponentError(
            f"{connection.named(index)}: field '{field}' (`vector_field`) has type "
            f"{', '.join(kinds)}, not dense_vector",
            code="RK267",
        )
    if any("dims" not in one for one in found):
        raise ComponentError(
            f"{connection.named(index)}: field '{field}' (`vector_field`) has no vectors yet: its "
            "mapping states no dims",
            code="RK267",
        )
    settings = {(one["dims"], one.get("similarity", "cosine")) for one in found}
    if len(settings) > 1:
        shown = " and ".join(f"{dims} by {similarity}" for dims, similarity in sorted(settings))
        raise ComponentError(
            f"{connection.named(index)}: the indices behind this name have vectors of different "
            f"dimensions or similarities ({shown})",
            code="RK269",
        )
    return found[0]


@dataclass(frozen=True)
class _ElasticsearchVectors:
    spec: ElasticsearchVectorsSpec
    connection: Connection[Elasticsearch]
    dimension: int
    similarity: Similarity

    def read(self) -> Iterator[VectorChunk]:
        """Stream the documents at one point in time."""
        import numpy as np

        from recipekit.engines.elasticsearch.scan import scan

        spec = self.spec
        ids: list[str] = []
        vectors: list[Any] = []
        fields = [spec.vector_field, *([spec.id_field] if spec.id_field else [])]
        for hit in scan(
            self.connection,
            spec.index,
            fields=fields,
            filter={"exists": {"field": spec.vector_field}},
            page_size=spec.page_size,
            slices=spec.concurrency,
        ):
            ids.append(self._id(hit))
            vectors.append(hit["fields"][spec.vector_field])
            if len(ids) == spec.page_size:
                yield VectorChunk(ids, np.array(vectors, dtype=np.float32))
                ids, vectors = [], []
        if ids:
            yield VectorChunk(ids, np.array(vectors, dtype=np.float32))

    def _id(self, hit: Mapping[str, Any]) -> str:
        field = self.spec.id_field
        if field is None:
            return str(hit["_id"])
        values = hit.get("fields", {}).get(field, [])
        if len(values) != 1:
            raise ComponentError(
                f"{self.connection.named(self.spec.index)}: document {hit['_id']} has "
                f"{len(values)} values in '{field}' (`id_field`) instead of one",
                code="RK269",
            )
        return str(values[0])
