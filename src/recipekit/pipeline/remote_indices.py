"""What this cache's runs made on servers, and which of it no run needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.component import Remote, RemoteIndex, RetrieverSpec
from recipekit.dataset import Dataset
from recipekit.pipeline.garbage import check_runs, needed
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots

__all__ = ["RemoteUse", "collect_remote_garbage", "remote_uses"]


@dataclass(frozen=True)
class RemoteUse:
    """An index on a server, and whose it is.

    `needed` or `free` for one of this cache, `another's` for one of another.
    """

    remote: Remote
    index: RemoteIndex
    state: Literal["needed", "free", "another's"]


def remote_uses(
    recipe: Recipe, store: Store, runs: Path, *, keep_runs: int | None = None
) -> Iterator[RemoteUse]:
    """Every index that recipekit made on the servers that a recipe names.

    One of this cache is needed as long as a run needs a data set of the passages that are in it
    (see `needed`).

    Args:
        recipe: Says where the servers are, and with which credentials to ask.
        store: The cache.
        runs: The folder of the runs.
        keep_runs: Count only the newest so many runs of every recipe; all of them by default.

    Raises:
        ComponentError: A server cannot be reached, or refuses.
    """
    hashes = FileHashes(store.root / "hashes.json")
    kept = [
        found
        for name in needed(store, runs, keep_runs=keep_runs)
        if name[0] == "collect" and (found := store.find(*name))
    ]
    corpora = {hashes.of(Dataset(found.path, found.key).files("passage")[0]) for found in kept}
    hashes.save()
    for remote in _remotes(recipe):
        for index in remote.indices():
            if index.owner != store.owner:
                yield RemoteUse(remote, index, "another's")
            else:
                yield RemoteUse(remote, index, "needed" if index.corpus in corpora else "free")


def collect_remote_garbage(
    recipe: Recipe, store: Store, runs: Path, *, keep_runs: int | None = None, dry_run: bool = False
) -> Iterator[RemoteUse]:
    """Remove what this cache made on servers and no run needs, giving each; nothing of another
    cache, nothing without our mark.

    Raises:
        StoreError: See `check_runs`.
    """
    check_runs(store, runs)
    for use in list(remote_uses(recipe, store, runs, keep_runs=keep_runs)):
        if use.state == "free":
            yield use
            if not dry_run:
                use.remote.remove(use.index.name)


def _remotes(recipe: Recipe) -> Iterator[Remote]:
    """The servers that a recipe's retrievers search, each once."""
    seen: set[str] = set()
    for _, slot in all_slots(recipe):
        if not isinstance(slot.spec, RetrieverSpec):
            continue
        remote = slot.spec.remote()
        if remote is not None and remote.server not in seen:
            seen.add(remote.server)
            yield remote
