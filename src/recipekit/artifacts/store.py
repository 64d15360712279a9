"""The artifact store: a folder per (stage, key), committed by one rename.

```
<root>/cache/<stage>/<key>/           data and manifest.json
<root>/cache/<stage>/<key>.partial/   unfinished work, kept by a crash, resumed by the next attempt
<root>/cache/<stage>/<key>.lock       held by the process that is writing the artifact
```

An artifact under its key is always complete: everything is flushed to the disk, the manifest is
written last, and then the folder is renamed into place. Two runs that need the same artifact take
turns, and the second finds it finished.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from recipekit.artifacts.storage_errors import check_folder, explained

__all__ = ["MANIFEST", "Artifact", "Store", "flush", "write_json"]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """A finished artifact."""

    stage: str
    key: str
    path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """What made it: see `recipekit.artifacts.manifest`."""
        manifest: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
        return manifest

    def is_whole(self) -> bool:
        """Return whether it was finished: its manifest exists and can be read."""
        try:
            return isinstance(self.manifest, dict)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.lstat().st_size for file in self.path.rglob("*") if file.is_file())


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that readers see the old file or the new one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path.parent, path):
        try:
            temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


class Store:
    """Artifacts under one root folder (`.recipekit` by default).

    Raises:
        StoreError: The root is a file, or cannot be a folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        check_folder(self.cache)

    @property
    def calls(self) -> Path:
        """The file of replies from paid endpoints, and of what was spent."""
        return self.root / "calls.sqlite"

    @property
    def owner(self) -> str:
        """Identifies this cache on the servers that its runs use; created once."""
        file = self.root / "owner"
        with explained(self.root):
            return self._owner(file)

    def _owner(self, file: Path) -> str:
        if not file.is_file():
            self.root.mkdir(parents=True, exist_ok=True)
            name = secrets.token_hex(8)
            temporary = self.root / f".owner.{name}.tmp"
            temporary.write_text(name)
            try:
                with suppress(FileExistsError):  # another run was first: its name is used
                    os.link(temporary, file)
            finally:
                temporary.unlink()
        return file.read_text()

    def add_runs_folder(self, runs: Path) -> None:
        """Note that runs in a folder use this cache, for `runs_folders`.

        A cache that cannot be written still serves what it has.
        """
        path = str(runs.absolute())
        name = hashlib.sha256(path.encode()).hexdigest()[:16]
        file = self.root / "runs" / f"{name}.json"
        if not file.is_file():
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, path)

    def runs_folders(self) -> list[Path]:
        """Return the folders of runs that have used this cache and still exist.

        Projects can share a cache, so the runs of one project do not show what others need.
        """
        files = sorted((self.root / "runs").glob("*.json"))
        folders = [Path(json.loads(file.read_text())) for file in files]
        return [folder for folder in folders if folder.is_dir()]

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the finished artifact of a key, or None."""
        artifact = Artifact(stage, key, self.cache / stage / key)
        return artifact if artifact.is_whole() else None

    def all(self) -> Iterator[Artifact]:
        """Yield every finished artifact, by stage and key."""
        for manifest in sorted(self.cache.glob(f"*/*/{MANIFEST}")):
            artifact = Artifact(manifest.parent.parent.name, manifest.parent.name, manifest.parent)
            if not manifest.parent.name.endswith(".partial") and artifact.is_whole():
                yield artifact

    def partial(self, stage: str, key: str) -> Path:
        """Return the folder of an unfinished artifact, which may not exist."""
        return self.cache / stage / f"{key}.partial"

    def all_partial(self) -> Iterator[Artifact]:
        """Yield every unfinished artifact, by stage and key."""
        for path in sorted(self.cache.glob("*/*.partial")):
            yield Artifact(path.parent.name, path.name.removesuffix(".partial"), path)

    def make(
        self,
        stage: str,
        key: str,
        build: Callable[[Path], Mapping[str, Any]],
        *,
        force: bool = False,
        waiting: Callable[[], None] | None = None,
    ) -> Artifact:
        """Return the artifact of a key, and build it if it does not exist.

        Args:
            stage: The stage or kind of by-product.
            key: Its key.
            build: Writes the data into the partial folder, which may hold the work of an earlier
                attempt, and returns the manifest.
            force: Build it even if it exists; the old one is replaced once the new one is complete.
            waiting: Called once if another process is writing it now.

        Raises:
            StoreError: The disk is full, or the cache cannot be written.
        """
        with self.making(stage, key, waiting=waiting) as partial:
            found = self.find(stage, key)
            if found and not force:
                return found
            partial.mkdir(parents=True, exist_ok=True)
            self.commit(stage, key, build(partial))
        return Artifact(stage, key, self.cache / stage / key)

    @contextmanager
    def making(
        self,
        stage: str,
        key: str,
        *,
        is_main: bool = True,
        waiting: Callable[[], None] | None = None,
    ) -> Iterator[Path]:
        """Hold an artifact's lock (on the main rank) and yield its partial folder.

        The caller must look again whether the artifact exists by then.
        """
        partial = self.partial(stage, key)
        with explained(self.cache / stage):
            if not is_main:
                yield partial
                return
            with self.lock(stage, key, waiting):
                if self.find(stage, key) is None:
                    partial.mkdir(parents=True, exist_ok=True)
                yield partial

    def commit(self, stage: str, key: str, manifest: Mapping[str, Any]) -> None:
        """Turn a partial folder into the artifact: all flushed, manifest last, then one rename.

        The next holder of the lock finishes what is interrupted once the manifest is written.
        Before that, the work in `scratch/` is still there for the next attempt.
        """
        partial = self.partial(stage, key)
        mode = partial.stat().st_mode
        for file in partial.rglob("*"):
            if not file.is_relative_to(partial / "scratch"):
                _follow_umask(file, mode)
                flush(file)
        write_json(partial / MANIFEST, manifest)
        flush(partial / MANIFEST)
        flush(partial)
        self._complete(stage, key)

    def _complete(self, stage: str, key: str) -> None:
        """Put a partial folder with a manifest into the artifact's place."""
        partial, final = self.partial(stage, key), self.cache / stage / key
        shutil.rmtree(partial / "scratch", ignore_errors=True)
        if final.exists():
            replaced = final.with_name(f"{key}.replaced")
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
            partial.rename(final)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            partial.rename(final)
        flush(final.parent)

    @contextmanager
    def lock(
        self, stage: str, key: str, waiting: Callable[[], None] | None = None
    ) -> Iterator[IO[str]]:
        """Hold the lock on an artifact, and finish its commit if that was interrupted.

        The lock belongs to the open file: a child process that inherits the file holds it, too.
        The caller must look again whether the artifact exists by then.
        """
        path = self.cache / stage / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            if Artifact(stage, key, self.partial(stage, key)).is_whole():
                self._complete(stage, key)  # a commit was interrupted
            yield file

    def remove(self, artifact: Artifact) -> None:
        """Delete an artifact. It is renamed first, so that no reader sees a part of it."""
        gone = artifact.path.with_name(f"{artifact.key}.removed")
        with explained(artifact.path):
            shutil.rmtree(gone, ignore_errors=True)
            artifact.path.rename(gone)
            shutil.rmtree(gone)

    def reachable(self, roots: Set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return the (stage, key) pairs that `roots` need: themselves, inputs and by-products."""
        seen: set[tuple[str, str]] = set()
        ahead = list(roots)
        while ahead:
            name = ahead.pop()
            if name in seen:
                continue
            seen.add(name)
            if found := self.find(*name):
                manifest = found.manifest
                ahead.extend((stage, key) for stage, key in manifest.get("inputs", {}).items())
                ahead.extend((stage, key) for stage, key in manifest.get("by_products", []))
        return seen


def _follow_umask(path: Path, mode: int) -> None:
    """Give a file the permissions of a plain new file, and a folder those of a new folder.

    Libraries write some files through temporary ones, which only their owner can read.

    Args:
        path: The file or folder; links stay as they are.
        mode: The mode of a plain new file or folder, which follows the umask.
    """
    if path.is_symlink():
        return
    wanted = mode & 0o666
    if path.is_dir():
        wanted |= (wanted & 0o444) >> 2  # who can read a folder can enter it
    current = path.stat().st_mode
    if current & 0o777 != wanted:
        path.chmod((current & 0o7000) | wanted)


def flush(path: Path) -> None:
    """Wait until a file's content or a folder's names are on the disk; links need no waiting."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
