"""The indices that runs of this cache built on servers, and which of them no run needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recipekit import stages
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.component import Remote, RemoteIndex, RetrieverSpec
from recipekit.pipeline.garbage import check_runs, needed
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots
from recipekit.stages.dataset_view import dataset_view

__all__ = ["RemoteUse", "collect_remote_garbage", "remote_uses"]


@dataclass(frozen=True)
class RemoteUse:
    """An index on a server, and who owns it.

    `needed` or `free` if it belongs to this cache.
    """

    remote: Remote
    index: RemoteIndex
    state: Literal["needed", "free", "of another cache"]


def remote_uses(
    recipe: Recipe, store: Store, runs: Path, *, keep_runs: int | None = None
) -> Iterator[RemoteUse]:
    """Yield every index that recipekit built on the servers that a recipe names.

    An index of this cache is needed as long as a run needs a data set with its passages (see
    `needed`).

    Args:
        recipe: Names the servers and the credentials.
        store: The cache.
        runs: The folder of the runs.
        keep_runs: Count only the newest runs of every recipe; all of them by default.

    Raises:
        ComponentError: A server cannot be reached, or refuses the request.
    """
    corpora = _needed_corpora(store, runs, keep_runs)
    for remote in _remotes(recipe):
        for index in remote.indices():
            if index.owner != store.owner:
                yield RemoteUse(remote, index, "of another cache")
            else:
                yield RemoteUse(remote, index, "needed" if index.corpus in corpora else "free")


def _needed_corpora(store: Store, runs: Path, keep_runs: int | None) -> set[str]:
    """Return the hashes of the passages that runs need."""
    hashes = FileHashes(store.root / "hashes.json")
    extending = stages.dataset_stage_names()
    corpora = set()
    for name, key in needed(store, runs, keep_runs=keep_runs):
        artifact = store.find(name, key) if name in extending else None
        dataset = dataset_view({name: artifact}) if artifact else None
        if dataset is not None:
            corpora |= {hashes.of(file) for file in dataset.files("passage") if file.is_file()}
    hashes.save()
    return corpora


def collect_remote_garbage(
    recipe: Recipe, store: Store, runs: Path, *, keep_runs: int | None = None, dry_run: bool = False
) -> Iterator[RemoteUse]:
    """Remove the indices of this cache that no run needs, and yield each.

    Indices of other caches, and those without recipekit's ownership tag, stay.

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
    """Yield the servers that a recipe's retrievers search, each once."""
    seen: set[str] = set()
    for _, slot in all_slots(recipe):
        remote = slot.spec.remote() if isinstance(slot.spec, RetrieverSpec) else None
        if remote is not None and remote.server not in seen:
            seen.add(remote.server)
            yield remote
