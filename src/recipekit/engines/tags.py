"""Ownership tags: which cache made an index, of which passages, and whether it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from recipekit.artifacts.key import key_of
from recipekit.component import Context, RemoteIndex

__all__ = ["PREFIX", "TAG", "OwnershipTag"]

PREFIX: Final = "recipekit-"
"""The names of recipekit's indices begin with it, but only the tag proves who made one."""
TAG: Final = "recipekit"
"""The key under which a server stores the tag in an index's metadata."""


@dataclass(frozen=True)
class OwnershipTag:
    """Describes an index or collection that recipekit made, and is stored with it on the server."""

    cache_id: str
    """The cache that it was made for, `Context.owner`."""
    corpus_hash: str
    """The passages in it, `Context.corpus`. Labels and queries do not matter."""
    settings_hash: str
    """The hash of all settings that decide what is in it."""
    rows: int
    """How many passages it must hold."""
    complete: bool = False
    """Set last, after its content has been checked."""

    @classmethod
    def for_index(cls, context: Context, engine: str, settings: Any, *, rows: int) -> OwnershipTag:
        """The tag of an index over the passages of a context.

        Args:
            context: Names the cache and the passages.
            engine: `elasticsearch` or `qdrant`.
            settings: A JSON value that decides what is in the index, in addition to the passages.
            rows: How many passages it will hold.
        """
        settings_hash = key_of({"engine": engine, "settings": settings})
        return cls(context.owner, context.corpus, settings_hash, rows)

    @property
    def name(self) -> str:
        """The name of the index.

        Caches never share an index, so that none removes what another one uses.
        """
        return f"{PREFIX}{key_of([self.cache_id, self.corpus_hash, self.settings_hash])[:24]}"

    def matches(self, other: OwnershipTag | None) -> bool:
        """Whether both describe the same index, complete or not."""
        return other is not None and replace(other, complete=self.complete) == self

    def metadata(self, *, complete: bool) -> dict[str, Any]:
        """The metadata to store with the index."""
        return {TAG: asdict(replace(self, complete=complete))}

    def describe(self, name: str, *, rows: int, size: int) -> RemoteIndex:
        """The index as `recipekit cache ls` lists it, with its current rows and bytes."""
        return RemoteIndex(name, self.cache_id, self.corpus_hash, rows, size)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> OwnershipTag | None:
        """The tag in an index's metadata; None if there is no valid one."""
        stored = (metadata or {}).get(TAG)
        try:
            return cls(**stored) if isinstance(stored, Mapping) else None
        except TypeError:
            return None
