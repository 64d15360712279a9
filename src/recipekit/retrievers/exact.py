"""Dense retrieval without a server: exact search over cached embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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
from recipekit.retrievers.estimates import exact_work

if TYPE_CHECKING:
    from recipekit.component import Sizes
    from recipekit.search.topk import Matrix

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
        queries = context.query_embeddings(self.encoder)
        passages = context.embeddings(self.encoder, "passage")
        retriever = _ExactRetriever(queries, passages, context.ranks.device)
        if context.ranks.is_main:
            retriever.matrix()  # evaluations measure the time of its searches
        return retriever


@dataclass(frozen=True)
class _ExactRetriever(Retriever):
    queries: Embeddings
    passages: Embeddings
    device: str

    @property
    def counts(self) -> dict[str, Any]:
        """The similarity, for mining's summary."""
        return {"similarity": self.passages.similarity}

    @property
    def searches_on_all_ranks(self) -> bool:
        """All ranks have the embeddings."""
        return True

    def matrix(self) -> Matrix:
        """The passages, on the GPU if they fit; other ranks than the main one may never search."""
        return self._matrix

    @cached_property
    def _matrix(self) -> Matrix:
        from recipekit.search.topk import resident

        return resident(self.passages.matrix, self.device)

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages whose embeddings are most similar to each query's.

        `queries.texts` is not read.
        """
        from recipekit.search.topk import exact_top_k

        return exact_top_k(
            self.queries.take(queries.rows),
            self.matrix(),
            depth,
            similarity=self.passages.similarity,
            device=self.device,
        )
