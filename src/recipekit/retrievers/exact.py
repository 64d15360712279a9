"""Dense retrieval without a server: exact inner products over embedding artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipekit.component import (
    Context,
    EncoderName,
    Hits,
    QueryBatch,
    Retriever,
    RetrieverSpec,
    Sizes,
)
from recipekit.retrievers.estimates import exact_work

__all__ = ["ExactSpec"]


class ExactSpec(RetrieverSpec):
    """Dense retrieval by an encoder of the recipe: exact, over all passages, on the run's own
    device.

    Passages are ranked by the inner product of their embeddings with the query's, each encoded once
    with its own side's prompt. For an encoder that normalizes, that is the cosine; for one that
    does not, it is the inner product as it is.
    """

    encoder: EncoderName
    """Which of the recipe's encoders, by its name under `encoders`."""

    def estimate(self, sizes: Sizes, pairs: int) -> dict[str, float | str]:
        """What reading every vector for every query takes."""
        return exact_work(sizes)

    def build(self, context: Context) -> Retriever:
        """Encode both sides where that is not done yet (all ranks together), and map the
        embeddings.
        """
        from recipekit.search.topk import resident

        queries = context.embeddings(self.encoder, "query").matrix
        passages = context.embeddings(self.encoder, "passage").matrix
        # Only the main rank searches: on the others the matrix stays on disk.
        device = context.ranks.device
        return _ExactRetriever(
            queries, resident(passages, device) if context.ranks.is_main else passages, device
        )


@dataclass(frozen=True)
class _ExactRetriever(Retriever):
    queries: Any
    passages: Any
    device: str

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages of highest inner product with each query's embedding.

        `queries.texts` is not read.
        """
        from recipekit.search.topk import exact_top_k

        return exact_top_k(self.queries[queries.rows], self.passages, depth, device=self.device)
