"""Vectors of passages or queries that exist already, such as those of a search index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from recipekit.component.spec import Component
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.arrays import Floats

__all__ = ["VectorChunk", "VectorSource", "VectorSourceSpec"]


@dataclass(frozen=True)
class VectorChunk:
    """Some vectors with the ids of their texts."""

    ids: Sequence[str] | None
    """Ids as the source of the texts gives them, (n,); None if the vectors are in the order of the
    collected passages, or queries."""
    vectors: Floats
    """Vectors, float32 (n, dim)."""


class VectorSource(Protocol):
    """Reads vectors of passages, or of queries."""

    @property
    def dimension(self) -> int:
        """The dimension of the vectors."""

    @property
    def similarity(self) -> Similarity:
        """How they are compared."""

    def read(self) -> Iterator[VectorChunk]:
        """Stream the vectors, in any order. Those of texts that were not collected may occur.

        Raises:
            DataError: A file is wrong.
            ComponentError: A server or an index cannot be used.
        """


class VectorSourceSpec(Component[VectorSource]):
    """Vectors of passages or queries that exist already, by any model."""

    kind: ClassVar[str] = "vector_source"

    source: str | None = None
    """The recipe's source whose ids it has, if the recipe has several sources."""

    def known_dimension(self) -> int | None:
        """Return the dimension of the vectors if it is known without a server; else None."""
        return None

    def known_similarity(self) -> Similarity | None:
        """Return how the vectors are compared if it is known without a server; else None."""
        return None

    def described(self) -> str:
        """Return where the vectors are, for messages and model cards: `collection 'docs'`."""
        raise TypeError(f"{type(self).__name__} does not define described()")
