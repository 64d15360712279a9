"""By-products: artifacts that several stages share, such as tokens, embeddings and indices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit.artifacts.key import key_of
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Store
from recipekit.component import Ranks

if TYPE_CHECKING:
    from recipekit.arrays import Rows

__all__ = ["ByProducts"]

Build = Callable[[Path], Mapping[str, Any]]
"""Writes a by-product into a folder, and returns its summary."""


@dataclass(frozen=True)
class ByProducts:
    """Finds by-products in the cache, and makes those that are missing. Methods are collective."""

    store: Store
    ranks: Ranks
    used: list[tuple[str, str]]
    """Those that were used, as (kind, key)."""

    def make(self, kind: str, identity: Mapping[str, Any], build: Build) -> Path:
        """Return the folder of a by-product.

        If it is not cached, the main rank builds it while the others wait.

        Args:
            kind: Its kind, the name of a folder in the cache.
            identity: Everything that decides it.
            build: Builds it; the folder may hold the work of an earlier attempt.
        """
        key = key_of(identity)

        def build_with_manifest(folder: Path) -> dict[str, Any]:
            return manifest(
                stage=kind, key=key, identity=identity, inputs={}, summary=build(folder)
            )

        if self.ranks.is_main:
            self.store.make(kind, key, build_with_manifest)
        self.ranks.barrier()
        self.used.append((kind, key))
        return self.store.cache / kind / key

    def make_together(self, kind: str, identity: Mapping[str, Any], build: Build) -> Path:
        """Return the folder of a by-product that all ranks build together; see `make`."""
        key = key_of(identity)
        self.used.append((kind, key))
        # Several ranks look only under the lock, and the main rank looks for all. Without that, an
        # artifact that another run commits at this moment would exist only for some of them, and
        # the ranks would wait for one another at different places.
        if self.ranks.count > 1 or self.store.find(kind, key) is None:
            with self.store.making(kind, key, is_main=self.ranks.is_main) as partial:
                self.ranks.barrier()
                if not self.has(kind, identity):
                    summary = build(partial)
                    if self.ranks.is_main:
                        made = manifest(
                            stage=kind, key=key, identity=identity, inputs={}, summary=summary
                        )
                        self.store.commit(kind, key, made)
            self.ranks.barrier()
        return self.store.cache / kind / key

    def narrow(
        self, kind: str, identity: dict[str, Any], rows: Rows | None, total: int
    ) -> Rows | None:
        """Return the rows that a by-product of texts has, of those that are needed; None for all.

        It has all if all are needed, or if one with all is cached. Otherwise the rows are added to
        `identity`.

        Args:
            kind: Its kind.
            identity: Everything that decides it, apart from the rows.
            rows: The rows that are needed, ascending; None for all.
            total: How many texts there are.
        """
        if rows is None or len(rows) == total or self.has(kind, identity):
            return None
        identity["rows"] = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        return rows

    def has(self, kind: str, identity: Mapping[str, Any]) -> bool:
        """Return whether a by-product is cached; the main rank looks for all."""
        is_here = self.ranks.is_main and self.store.find(kind, key_of(identity)) is not None
        return bool(self.ranks.broadcast(is_here))
