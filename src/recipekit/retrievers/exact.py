"""Dense retrieval without a server: exact search over cached embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipekit.component import (
    Context,
    Embeddings,
    EncoderName,
    Hits,
    QueryBatch,
    Retriever,
    RetrieverSpec,
)
from recipekit.records import Similarity
from recipekit.retrievers.estimates import exact_work

if TYPE_CHECKING:
    from recipekit.component import Sizes

__all__ = ["ExactSpec"]


class ExactSpec(RetrieverSpec):
    """Exact dense retrieval with one of the recipe's encoders, on the run's own device.

    Passages are ranked by the encoder's own `similarity`. Each text is encoded once, with its
    side's prompt.
    """

    encoder: EncoderName
    """One of the recipe's encoders, by its name under `encoders`."""

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """FLOPs of comparing every query with every vector."""
        return exact_work(sizes)

    def build(self, context: Context) -> Retriever:
        """Encode both sides if necessary, all ranks together, and map the embeddings."""
        from recipekit.search.topk import resident

        queries = context.query_embeddings(self.encoder)
        passages = context.embeddings(self.encoder, "passage")
        # Only the main rank searches; on the others the matrix stays on disk.
        device = context.ranks.device
        matrix = passages.matrix
        if context.ranks.is_main:
            matrix = resident(matrix, device)
        return _ExactRetriever(queries, matrix, passages.similarity, device)


@dataclass(frozen=True)
class _ExactRetriever(Retriever):
    queries: Embeddings
    passages: Any
    similarity: Similarity
    device: str

    @property
    def counts(self) -> dict[str, Any]:
        """The similarity, for mining's summary."""
        return {"similarity": self.similarity}

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages whose embeddings are most similar to each query's.

        `queries.texts` is not read.
        """
        from recipekit.search.topk import exact_top_k

        return exact_top_k(
            self.queries.take(queries.rows),
            self.passages,
            depth,
            similarity=self.similarity,
            device=self.device,
        )
