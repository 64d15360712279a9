"""Dense retrieval from Qdrant: a collection of ours or of others on a server, or the same engine in
this process.

Only dense vectors: no encoder gives sparse ones yet. Theirs would be a second named vector of the
same points (`qdrant_settings`).
"""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import (
    Context,
    EncoderName,
    NotIdentity,
    Remote,
    Retriever,
    RetrieverSpec,
    Secret,
    Sizes,
    Url,
)
from recipekit.retrievers.estimates import qdrant_work
from recipekit.retrievers.qdrant_settings import Hnsw, Quantization

__all__ = ["QdrantSpec"]


class QdrantSpec(RetrieverSpec):
    """Dense retrieval by an encoder of the recipe from Qdrant, on a server or embedded:
    approximate, or exact.

    The collection is made from the encoder's embeddings and kept for later runs (`recipekit cache
    gc --recipe` removes it), or it is one that exists already (`collection`), which is never
    written to. What approximate search loses is measured and told.
    """

    live: ClassVar[bool] = True

    encoder: EncoderName
    """Which of the recipe's encoders, by its name under `encoders`.

    An existing collection must hold its embeddings.
    """
    where: Literal["server", "embedded"] = "server"
    """`server` asks the one at `url`.

    `embedded` runs the same engine in this process, over files in the cache.
    """
    url: Url = "http://localhost:6333"
    """Where the server's REST interface answers; needed with `protocol: grpc`, too."""
    api_key: Secret | None = None
    """The key it wants, as `${env:NAME}`."""
    protocol: Annotated[Literal["rest", "grpc"], NotIdentity] = "rest"
    """How vectors and hits travel. gRPC is several times faster, but its port is open less often.
    """
    grpc_port: Annotated[int, NotIdentity, Field(ge=1, le=65535)] = 6334
    """The port for gRPC."""
    timeout: Annotated[float, NotIdentity, Field(ge=1)] = 60.0
    """Seconds until a request is given up."""
    attempts: Annotated[int, NotIdentity, Field(ge=1)] = 8
    """How often a request is tried that fails for a reason that may pass: about a minute in all."""
    concurrency: Annotated[int, NotIdentity, Field(ge=1, le=256)] = 4
    """Requests under way at once."""
    batch_size: Annotated[int, NotIdentity, Field(ge=1)] = 256
    """Passages in a request when loading."""
    query_batch_size: Annotated[int, NotIdentity, Field(ge=1)] = 64
    """Queries in a request when searching."""

    exact: bool = False
    """Read every vector for every query: nothing is lost, and nothing is built."""
    hnsw: Hnsw = Hnsw()
    """The graph for approximate search; of an existing collection only `ef` counts."""
    quantization: Quantization | None = None
    """Shorter vectors for corpora that do not fit into memory; whole ones by default."""
    distance: Literal["dot", "cosine"] = "dot"
    """`dot` ranks as `exact` does: by the inner product, which is the cosine for an encoder that
    normalizes.
    """
    on_disk: bool = False
    """Keep the vectors on the server's disk, and only what is asked for in its memory."""
    shards: Annotated[int, Field(ge=1)] = 1
    """Parts that a cluster spreads over its nodes."""
    replication: Annotated[int, Field(ge=1)] = 1
    """Copies of each part."""

    collection: str | None = None
    """A collection that exists, with an id of each passage; by default one is made."""
    id_field: str | None = None
    """Where an existing collection's payload holds the passages' ids; by default the points' own
    ids are they.
    """
    source: str | None = None
    """Whose ids they are, where the recipe has several sources: its name there."""
    vector: str | None = None
    """Which of an existing collection's named vectors; by default the one without a name."""
    max_unknown: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of an existing collection's hits that may be passages which were not collected;
    they are dropped.
    """
    recall_sample: Annotated[int, NotIdentity, Field(ge=0)] = 100
    """Queries on which approximate search is compared with exact search; 0 compares nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.exact and self.quantization:
            raise ValueError(
                "exact: true reads whole vectors, and quantization shortens them: leave one of the two out"
            )
        if self.exact and self.hnsw != Hnsw():
            raise ValueError(
                "exact: true reads every vector, and hnsw is of the graph that is not built: leave one of the two out"
            )
        if self.collection is None:
            for name in ("id_field", "vector", "source"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is said of a collection that exists: name it as `collection`"
                    )
        elif self.where == "embedded":
            raise ValueError(
                "collection names one on a server, and where: embedded has none: leave one of the two out"
            )
        else:
            defaults = {"distance": "dot", "on_disk": False, "shards": 1, "replication": 1}
            if changed := [
                name for name, value in defaults.items() if getattr(self, name) != value
            ]:
                raise ValueError(f"{', '.join(changed)}: a collection that exists is used as it is")
        if self.where == "embedded" and (self.shards, self.replication) != (1, 1):
            raise ValueError("shards and replication need a cluster: where: server")
        return self

    def fingerprint(self) -> Any:
        """Of a collection that exists: what changes when it does.

        Ours are made from what the key holds already.
        """
        if self.collection is None:
            return None
        from recipekit.retrievers.qdrant_build import server_of
        from recipekit.retrievers.qdrant_collections import fingerprint

        return fingerprint(
            server_of(self, attempts=2, timeout=10), self.collection, self.id_field, self.vector
        )

    def reach(self) -> None:
        """See that the server answers, and that client and server belong together.

        Raises:
            ComponentError: It cannot be reached, refuses, or is of another version.
        """
        if self.where == "embedded":
            return
        from recipekit.retrievers.qdrant_build import server_of

        with closing(server_of(self, attempts=2, timeout=10)) as server:
            server.check_version()

    def remote(self) -> Remote | None:
        """The collections on this server that recipekit made."""
        if self.where == "embedded":
            return None
        from recipekit.retrievers.qdrant_build import server_of
        from recipekit.retrievers.qdrant_collections import QdrantCollections

        return QdrantCollections(server_of(self, attempts=2))

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Memory of the server for vectors and graph, and hours to load and search, at measured
        rates.
        """
        return qdrant_work(sizes, self.protocol, exact=self.exact, made=self.collection is None)

    def build(self, context: Context) -> Retriever:
        """Encode where that is not done yet (all ranks together), load where that is not done, and
        measure the recall.
        """
        from recipekit.retrievers.qdrant_build import build

        return build(self, context)
