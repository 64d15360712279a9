"""What the cache may lose: artifacts that no run's folder leads to, and unfinished work that nobody
is at.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from recipekit.artifacts.store import Artifact, Store, explained
from recipekit.errors import StoreError

__all__ = ["check_runs", "collect_garbage", "needed"]


def needed(store: Store, runs: Path, *, keep_runs: int | None = None) -> set[tuple[str, str]]:
    """The (stage, key) pairs that runs lead to, with their inputs and by-products.

    Args:
        store: The cache.
        runs: The folder of the runs.
        keep_runs: Count only the newest so many runs of every recipe; all of them by default.
    """
    roots = set()
    for recipe in sorted(runs.glob("*/")):
        folders = sorted(
            (folder for folder in recipe.iterdir() if folder.is_dir() and not folder.is_symlink()),
            reverse=True,
        )
        for folder in folders[:keep_runs]:
            roots |= {
                (link.name, link.resolve().name)
                for link in (folder / "stages").glob("*")
                if link.exists()
            }
    return store.reachable(roots)


def check_runs(store: Store, runs: Path) -> None:
    """See that the runs are found, before anything goes that none of them needs.

    Raises:
        StoreError: There is no folder of runs, though there are artifacts: more likely it stands
            elsewhere than all is to go.
    """
    if not runs.is_dir() and next(store.all(), None) is not None:
        raise StoreError(
            f"{runs}: no runs are here, so that nothing would be kept; --runs names their folder",
            code="RK504",
        )


def collect_garbage(
    store: Store, runs: Path, *, keep_runs: int | None = None, dry_run: bool = False
) -> Iterator[tuple[Path, int]]:
    """Remove what is not needed, giving each path with the bytes it held.

    Artifacts and partial work whose lock somebody holds are left alone.

    Raises:
        StoreError: See `check_runs`.
    """
    check_runs(store, runs)
    keep = needed(store, runs, keep_runs=keep_runs)
    for artifact in list(store.all()):
        if (artifact.stage, artifact.key) not in keep and not _locked(
            artifact.path.with_name(f"{artifact.key}.lock")
        ):
            yield artifact.path, artifact.size()
            if not dry_run:
                store.remove(artifact)
    for suffix in ("partial", "replaced", "removed"):
        for folder in sorted(store.cache.glob(f"*/*.{suffix}")):
            if not _locked(folder.with_suffix(".lock")):
                yield folder, Artifact(folder.parent.name, folder.name, folder).size()
                if not dry_run:
                    with explained(folder):
                        shutil.rmtree(folder)


def _locked(lock: Path) -> bool:
    if not lock.exists():
        return False
    with explained(lock), lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
