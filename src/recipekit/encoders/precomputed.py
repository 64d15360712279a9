"""The `precomputed` encoder: vectors of both sides that exist already."""

from __future__ import annotations

from typing import Any, ClassVar

from recipekit.component import Context, EncoderSpec, Slot, VectorSourceSpec
from recipekit.errors import ComponentError
from recipekit.records import Similarity

__all__ = ["PrecomputedSpec"]


class PrecomputedSpec(EncoderSpec):
    """Vectors of queries and passages that exist already, by any model, a closed API's included.

    It embeds no text. Retrievers and judges use it as any other encoder: `exact` as a baseline
    compares an old query encoder with a new one on the same index, and mines candidates with it.
    It cannot be trained.
    """

    embeds_texts: ClassVar[bool] = False

    query_vectors: Slot[VectorSourceSpec]
    """Vectors of queries, by query id. Each query that is searched with needs one, so a baseline
    needs only those of the evaluated queries. They are compared as the passages' are, and a
    `similarity` of their own is not read."""
    passage_vectors: Slot[VectorSourceSpec]
    """Vectors of all passages. Their similarity is the encoder's. `{use:
    encoders.student.passage_vectors}` are those of the encoder `student`, which are read once for
    both."""

    def known_dimension(self) -> int | None:
        """Read the dimension of the passages' vectors if it is known without a server."""
        return self.passage_vectors.spec.known_dimension()

    def known_similarity(self) -> Similarity | None:
        """Return how the passages' vectors are compared if it is known without a server."""
        return self.passage_vectors.spec.known_similarity()

    def stored_passages(self) -> Slot[VectorSourceSpec]:
        """Return the vectors of the passages."""
        return self.passage_vectors

    def stored_queries(self) -> Slot[VectorSourceSpec]:
        """Return the vectors of the queries."""
        return self.query_vectors

    def build(self, context: Context) -> Any:
        """Refuse to embed texts.

        Raises:
            ComponentError: Always.
        """
        raise ComponentError(
            "an encoder 'precomputed' embeds no text: it has only the vectors of collected "
            "queries and passages",
            code="RK646",
        )
