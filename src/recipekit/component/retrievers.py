"""Retrievers, which find candidate passages, and what they keep on servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from recipekit.component.spec import Component

if TYPE_CHECKING:
    from recipekit.arrays import Floats, Ints, Rows

__all__ = ["Hits", "QueryBatch", "Remote", "RemoteIndex", "Retriever", "RetrieverSpec"]


@dataclass(frozen=True)
class QueryBatch:
    """Queries: their rows in the data set, int64 (n,), and their texts."""

    rows: Rows
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Hits:
    """The passages retrieved for a batch of queries, best first."""

    rows: Ints
    """Passage rows, int32 (n, depth); -1 after the last hit."""
    scores: Floats
    """Scores, float32 (n, depth), higher is better; -inf where `rows` is -1."""


class Retriever(Protocol):
    """Finds passages for queries. Subclass it for the defaults of the optional members."""

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """Return the `depth` best passages of each query, without duplicates.

        The lower row comes first among equal scores.
        """

    @property
    def searches_on_all_ranks(self) -> bool:
        """Whether ranks can share the queries of mining; optional.

        Return True if every rank can search what the retriever was built with, and a query's hits
        do not depend on the other queries. By default only the main rank searches, so that a server
        gets each query once.
        """
        return False

    @property
    def counts(self) -> Mapping[str, Any]:
        """JSON values for the stage's summary, such as the measured recall; optional."""
        return {}

    @property
    def index_bytes(self) -> int | None:
        """Bytes of what it searches on a server, 0 for nothing; None if unknown; optional.

        Only the main rank reads it, for baselines. By-products of `Context` are counted without it.
        """
        return 0


@dataclass(frozen=True)
class RemoteIndex:
    """An index or collection that recipekit made on a server."""

    name: str
    owner: str
    """The cache that it belongs to, `Context.owner`."""
    corpus: str
    """The passages in it, `Context.corpus`."""
    rows: int
    bytes: int
    """Its size on the server's disk; 0 if the server does not report it."""


class Remote(Protocol):
    """The indices with recipekit's ownership tag on a server, for `recipekit cache ls` and `gc`."""

    @property
    def server(self) -> str:
        """The server's name, the same for every retriever that uses it."""

    def indices(self) -> Sequence[RemoteIndex]:
        """Return everything on the server that has recipekit's ownership tag."""

    def remove(self, name: str) -> None:
        """Remove one of them.

        Raises:
            ComponentError: It has no ownership tag.
        """


class RetrieverSpec(Component[Retriever]):
    """Finds candidate passages for a query."""

    kind: ClassVar[str] = "retriever"

    depth: int = Field(default=100, ge=1)
    """How many passages to retrieve per query."""

    def remote(self) -> Remote | None:
        """Return the indices on this retriever's server; None for a retriever without a server."""
        return None
