"""Vectors that a data set's texts have already, read once into the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit.artifacts.key import FileHashes, slot_identity
from recipekit.component import Context, Embeddings, Slot, VectorSourceSpec
from recipekit.errors import DataError
from recipekit.stages.by_products import ByProducts
from recipekit.stages.dataset_view import texts_key

if TYPE_CHECKING:
    from recipekit.arrays import Rows
    from recipekit.dataset import Dataset

__all__ = ["StoredVectors"]


@dataclass(frozen=True)
class StoredVectors:
    """Reads vectors of a data set's texts that exist outside, as by-products."""

    dataset: Dataset
    hashes: FileHashes
    by_products: ByProducts
    context: Callable[[], Context]
    """Returns a context to build vector sources in."""

    def passages(self, slot: Slot[VectorSourceSpec]) -> Embeddings:
        """Return the vectors of all passages."""
        from recipekit.encoding.embed import open_embeddings
        from recipekit.vector_sources.stored import WantedTexts, store_vectors

        identity = {
            "by_product": "vectors",
            "identity": slot_identity(slot, self.hashes),
            "corpus": texts_key(self.dataset, "passage", self.hashes),
        }

        def build(folder: Path) -> dict[str, Any]:
            context = self.context()
            vectors = slot.build(context)
            texts = WantedTexts("passage", self.dataset.passages)
            store_vectors(slot.spec, vectors, texts, vectors.similarity, folder, context.progress)
            return {}

        return open_embeddings(self.by_products.make("vectors", identity, build))

    def queries(
        self, slot: Slot[VectorSourceSpec], of_passages: Slot[VectorSourceSpec], rows: Rows | None
    ) -> Embeddings:
        """Return the vectors of queries, to compare with those of the passages.

        Args:
            slot: The source of the queries' vectors.
            of_passages: The source of the passages' vectors.
            rows: The queries that are needed, ascending; None for all.

        Raises:
            DataError: The vectors of both have different dimensions.
        """
        from recipekit.encoding.embed import open_embeddings
        from recipekit.vector_sources.stored import WantedTexts, store_vectors

        passages = self.passages(of_passages)
        dimension, similarity = passages.matrix.shape[1], passages.similarity
        identity = {
            "by_product": "vectors",
            "identity": slot_identity(slot, self.hashes),
            "side": "query",
            "similarity": similarity,
            "dimension": dimension,
            "texts": texts_key(self.dataset, "query", self.hashes),
        }
        queries = self.dataset.queries
        rows = self.by_products.narrow("vectors", identity, rows, len(queries))

        def build(folder: Path) -> dict[str, Any]:
            context = self.context()
            vectors = slot.build(context)
            if vectors.dimension != dimension:
                raise DataError(
                    f"{slot.spec.described()}: has vectors of {vectors.dimension} dimensions, and "
                    f"those of the passages, {of_passages.spec.described()}, have {dimension}",
                    code="RK350",
                )
            texts = WantedTexts("query", queries, rows)
            store_vectors(slot.spec, vectors, texts, similarity, folder, context.progress)
            return {}

        folder = self.by_products.make("vectors", identity, build)
        return replace(open_embeddings(folder), rows=rows)
