"""Dense retrieval from a Qdrant server: recipekit's own collection, or an existing one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from recipekit.component import (
    Context,
    Embeddings,
    EncoderName,
    Hits,
    NotIdentity,
    Remote,
    Retriever,
    RetrieverSpec,
    Sizes,
)
from recipekit.engines.qdrant.access import QdrantAccess
from recipekit.engines.qdrant.settings import Hnsw, Quantization
from recipekit.retrievers.estimates import qdrant_work

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from recipekit.engines.connection import Connection
    from recipekit.engines.qdrant.search import QdrantRetriever

__all__ = ["QdrantSpec"]

LOW_RECALL: Final = 0.9
"""Recall against exact search below which a warning says how to raise it."""
OWN_COLLECTION_KEYS: Final = ("on_disk", "shard_number", "replication_factor")
EXISTING_COLLECTION_KEYS: Final = ("id_field", "vector_name", "source")


class QdrantSpec(QdrantAccess, RetrieverSpec):
    """Dense retrieval with one of the recipe's encoders from a Qdrant server, approximate or exact.

    Passages are ranked by the encoder's own `similarity`. An existing collection must compare its
    vectors in the same way.

    Without `collection`, one is made from the encoder's embeddings and reused by later runs;
    `recipekit cache gc --recipe` removes it when no run needs it. With `collection`, that one is
    searched as it is and never written to. The recall of approximate search is measured and
    reported at every run.
    """

    live: ClassVar[bool] = True
    version: ClassVar[int] = 2

    encoder: EncoderName
    """One of the recipe's encoders, by its name under `encoders`.

    An existing collection must hold its embeddings.
    """
    batch_size: Annotated[int, NotIdentity, Field(ge=1)] = 256
    """Passages per request when loading."""
    query_batch_size: Annotated[int, NotIdentity, Field(ge=1)] = 64
    """Queries per request when searching."""

    exact: bool = False
    """Compare every query with every vector: full recall, and no graph to build."""
    hnsw: Hnsw = Hnsw()
    """The graph for approximate search; with `collection`, only `ef` is used."""
    quantization: Quantization | None = None
    """Compressed vectors for corpora that do not fit into memory; none by default."""
    on_disk: bool = False
    """Keep the vectors on the server's disk instead of in its memory."""
    shard_number: Annotated[int, Field(ge=1)] = 1
    """Shards that a cluster distributes over its nodes."""
    replication_factor: Annotated[int, Field(ge=1)] = 1
    """Copies of each shard."""

    collection: str | None = None
    """An existing collection to search."""
    id_field: str | None = None
    """With `collection`: the payload field with a passage's id; by default the point's own id."""
    source: str | None = None
    """With `collection`: the recipe's source whose ids it has, if there are several sources."""
    vector_name: str | None = None
    """With `collection`: which of its named vectors; by default the unnamed one."""
    max_unknown_ids: Annotated[float, Field(ge=0, le=1)] = 0.01
    """With `collection`: the largest accepted share of hits that were not collected, 0 to 1.

    Unknown hits are dropped; more of them are an error.
    """
    recall_sample: Annotated[int, NotIdentity, Field(ge=0)] = 100
    """Queries on which approximate search is compared with exact search; 0 skips it."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.exact and self.quantization:
            raise ValueError("`exact: true` reads original vectors: remove `quantization`")
        if self.exact and self.hnsw != Hnsw():
            raise ValueError("`exact: true` builds no graph: remove `hnsw`")
        misplaced = OWN_COLLECTION_KEYS if self.collection else EXISTING_COLLECTION_KEYS
        for name in misplaced:
            if getattr(self, name) == type(self).model_fields[name].default:
                continue
            if self.collection:
                raise ValueError(
                    f"`{name}` configures a collection that recipekit creates, but "
                    f"'{self.collection}' exists and has its own settings"
                )
            raise ValueError(f"`{name}` describes an existing collection: name it as `collection`")
        return self

    def fingerprint(self) -> Any:
        """The state of an existing collection.

        None for recipekit's own, which follows from embeddings and settings.
        """
        if self.collection is None:
            return None
        from recipekit.engines.qdrant.existing import fingerprint

        with closing(self.connect_briefly()) as connection:
            return fingerprint(connection, self.collection, self.id_field, self.vector_name)

    def remote(self) -> Remote | None:
        """The collections on this server that recipekit made."""
        from recipekit.engines.qdrant.index import QdrantCollections

        return QdrantCollections(self.connect_briefly())

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """Server memory for vectors and graph, and hours to load and search, at measured rates."""
        return qdrant_work(sizes, self.protocol, exact=self.exact, loaded=self.collection is None)

    def build(self, context: Context) -> Retriever:
        """Encode and load what is missing, and measure the recall.

        All ranks encode; only the main rank talks to the server, while the others wait.

        Raises:
            ComponentError: The server fails, or an existing collection does not fit.
        """
        from recipekit.engines.qdrant.client import check_version
        from recipekit.engines.qdrant.search import QdrantRetriever
        from recipekit.engines.qdrant.settings import SearchSettings

        connection = self.connect(context.progress.warn)
        if context.ranks.is_main:
            check_version(connection, self)  # before encoding, which can take hours
        queries = context.query_embeddings(self.encoder)
        passages = None if self.collection else context.embeddings(self.encoder, "passage")
        retriever = QdrantRetriever(
            connection,
            self.collection or "",
            queries,
            len(context.dataset.passages),
            SearchSettings(self.exact, self.hnsw, self.quantization),
            self.query_batch_size,
            self.concurrency,
            self.protocol == "grpc",
        )
        if context.ranks.is_main:
            if passages is None:
                self._open_existing(retriever, context)
            else:
                retriever.collection = self._load(connection, passages, context)
            if not self.exact:
                self._measure_recall(retriever, passages, context)
        context.ranks.barrier()
        return retriever

    def _load(
        self, connection: Connection[QdrantClient], passages: Embeddings, context: Context
    ) -> str:
        """Load the embeddings into recipekit's own collection, and return its name."""
        import numpy as np

        from recipekit.engines.qdrant.index import ensure_collection
        from recipekit.engines.qdrant.settings import CollectionSettings
        from recipekit.engines.tags import OwnershipTag

        settings = CollectionSettings(
            dimension=passages.matrix.shape[1],
            half=passages.matrix.dtype == np.float16,
            similarity=passages.similarity,
            on_disk=self.on_disk,
            hnsw=None if self.exact else self.hnsw,
            quantization=self.quantization,
            shard_number=self.shard_number,
            replication_factor=self.replication_factor,
        )
        identity = {
            "version": self.version,
            "embeddings": passages.key,
            "settings": settings.identity,
        }
        tag = OwnershipTag.for_index(context, "qdrant", identity, rows=len(passages))
        loaded = ensure_collection(
            connection,
            tag,
            passages.matrix,
            settings,
            batch_size=self.batch_size,
            concurrency=self.concurrency,
            use_grpc=self.protocol == "grpc",
            progress=context.progress,
        )
        context.progress.log("qdrant", collection=tag.name, rows=tag.rows, loaded=loaded)
        return tag.name

    def _open_existing(self, retriever: QdrantRetriever, context: Context) -> None:
        """Check an existing collection, and map its ids to passages."""
        from recipekit.engines.hits import ExternalIds
        from recipekit.engines.qdrant.existing import check_vectors

        connection, name = retriever.connection, retriever.collection
        check_vectors(
            connection,
            name,
            self.vector_name,
            retriever.queries.matrix.shape[1],
            retriever.similarity,
        )
        retriever.ids = ExternalIds(
            context.dataset.passages,
            source=self.source,
            index=connection.named(name),
            max_unknown_ids=self.max_unknown_ids,
        )
        retriever.id_field, retriever.vector_name = self.id_field, self.vector_name

    def _measure_recall(
        self, retriever: QdrantRetriever, passages: Embeddings | None, context: Context
    ) -> None:
        """Compare approximate with exact search on a seeded sample of the queries."""
        import numpy as np

        from recipekit.search.topk import exact_top_k

        total = len(retriever.queries)
        random = np.random.default_rng(context.seed)
        sample = random.choice(total, min(self.recall_sample, total), replace=False)
        if not len(sample):
            return
        depth = min(self.depth, len(context.dataset.passages))
        vectors = np.asarray(retriever.queries.matrix[np.sort(sample)], np.float32)
        approximate = retriever.nearest(vectors, depth, exact=False)
        if passages is not None:
            # Over our own matrix, which checks what was loaded, too.
            exact = exact_top_k(
                vectors,
                passages.matrix,
                depth,
                similarity=passages.similarity,
                device=context.ranks.device,
            )
        else:
            exact = retriever.nearest(vectors, depth, exact=True)
        recall = retriever.measured_recall = _recall(approximate, exact)
        context.progress.log("qdrant_recall", depth=depth, recall=recall, queries=len(sample))
        message = (
            f"qdrant: recall@{depth} against exact search is {recall:.4f} on {len(sample)} queries"
        )
        if recall >= LOW_RECALL:
            context.progress.info(message)
        else:
            context.progress.warn(
                f"{message}: raise `hnsw.ef`, `hnsw.m` or `quantization.oversampling`, or set "
                "`exact: true`"
            )


def _recall(found: Hits, expected: Hits) -> float:
    """The mean share of the expected hits that were found, over queries that have any."""
    shares = []
    for found_rows, expected_rows in zip(found.rows, expected.rows, strict=True):
        wanted = set(expected_rows[expected_rows >= 0].tolist())
        if wanted:
            shares.append(len(wanted.intersection(found_rows.tolist())) / len(wanted))
    return sum(shares) / len(shares) if shares else 1.0
