"""What can be removed from a cache: what no run uses or resumes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from recipekit.artifacts.storage_errors import explained
from recipekit.artifacts.store import Artifact, Store
from recipekit.errors import StoreError
from recipekit.file_locks import is_locked
from recipekit.json_file import read_json
from recipekit.stages import PIPELINE

__all__ = ["check_runs", "collect_garbage", "needed"]

NEW_SECONDS: Final = 24 * 3600


def needed(
    store: Store, runs: Path, *, keep_runs: int | None = None, unfinished: bool = True
) -> set[tuple[str, str]]:
    """Return the (stage, key) pairs that runs link to or resume, with inputs and by-products.

    Args:
        store: The cache.
        runs: The folder of the runs. Other folders of runs that have used the cache count, too.
        keep_runs: Count only the newest runs of every recipe; all of them by default.
        unfinished: Count the partial work that these runs left, too.
    """
    roots = set()
    for folder in _runs(store, runs, keep_runs):
        links = (folder / "stages").glob("*")
        roots |= {(link.name, link.resolve().name) for link in links if link.exists()}
        if unfinished:
            roots |= _resumed(store, folder)
    return store.reachable(roots)


def _resumed(store: Store, run: Path) -> set[tuple[str, str]]:
    """The partial work of a run's stages, and the by-products that were made since it began.

    The manifest that names a stage's by-products is written when the stage finishes.
    """
    planned = {(stage["stage"], stage["key"]) for stage in read_json(run / "plan.json") or ()}
    partial = {(stage, key) for stage, key in planned if key and store.partial(stage, key).is_dir()}
    if not partial:
        return set()
    by_products = [
        artifact
        for artifact in (*store.all(), *store.all_partial())
        if artifact.stage not in {stage.name for stage in PIPELINE}
    ]
    started = (read_json(run / "run.json") or {}).get("started")
    begun = datetime.fromisoformat(started).timestamp() if started else 0.0
    return partial | {
        (artifact.stage, artifact.key)
        for artifact in by_products
        if artifact.path.stat().st_mtime >= begun
    }


def _runs(store: Store, runs: Path, keep_runs: int | None) -> Iterator[Path]:
    """Yield the folders of the newest runs of every recipe."""
    every = {folder.resolve() for folder in (runs, *store.runs_folders())}
    for recipe in sorted(recipe for folder in every for recipe in folder.glob("*/")):
        folders = sorted(
            (folder for folder in recipe.iterdir() if folder.is_dir() and not folder.is_symlink()),
            reverse=True,
        )
        yield from folders[:keep_runs]


def check_runs(store: Store, runs: Path) -> None:
    """Check that the folder of runs exists, before everything without a run is removed.

    Raises:
        StoreError: There is no folder of runs although there are artifacts. Most likely it is
            elsewhere.
    """
    if not runs.is_dir() and not store.runs_folders() and next(store.all(), None) is not None:
        raise StoreError(
            f"{runs}: there are no runs here, so everything would be removed; name their folder "
            "with --runs",
            code="RK504",
        )


def collect_garbage(
    store: Store,
    runs: Path,
    *,
    keep_runs: int | None = None,
    unfinished: bool = False,
    dry_run: bool = False,
) -> Iterator[tuple[Path, int]]:
    """Remove what no run needs, and yield each path with its size in bytes.

    Artifacts and partial work that a running process holds locks on stay.

    Args:
        store: The cache.
        runs: The folder of the runs; see `needed`.
        keep_runs: Keep only what the newest runs of every recipe need.
        unfinished: Remove the partial work that runs would resume, too.
        dry_run: Remove nothing.

    Raises:
        StoreError: See `check_runs`.
    """
    check_runs(store, runs)
    keep = needed(store, runs, keep_runs=keep_runs, unfinished=not unfinished)
    for artifact in list(store.all()):
        lock = artifact.path.with_name(f"{artifact.key}.lock")
        if (artifact.stage, artifact.key) not in keep and not is_locked(lock):
            yield artifact.path, artifact.size()
            if not dry_run:
                store.remove(artifact)
    for suffix in ("partial", "replaced", "removed"):
        for folder in sorted(store.cache.glob(f"*/*.{suffix}")):
            resumed = suffix == "partial" and (folder.parent.name, folder.stem) in keep
            if not resumed and not is_locked(folder.with_suffix(".lock")):
                yield folder, Artifact(folder.parent.name, folder.name, folder).size()
                if not dry_run:
                    with explained(folder):
                        shutil.rmtree(folder)
    for table in _free_tables(store, runs, keep_runs):
        yield table, table.stat().st_size
        if not dry_run:
            with explained(table):
                table.unlink()


def _free_tables(store: Store, runs: Path, keep_runs: int | None) -> list[Path]:
    """Return the stored tables of recipes from Python that no run names.

    New ones stay: their run may be about to start.
    """
    tables = sorted((store.root / "tables").glob("*.arrow"))
    recent = time.time() - NEW_SECONDS
    old = [table for table in tables if table.stat().st_mtime < recent]
    if not old:
        return []
    recipes = [
        file.read_text(encoding="utf-8", errors="replace")
        for folder in _runs(store, runs, keep_runs)
        for file in folder.glob("recipe*.yaml")
    ]
    return [table for table in old if not any(table.name in text for text in recipes)]
