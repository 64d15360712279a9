"""Read a run's folder: the run itself, the manifests of its stages, and their artifacts.

A run can stop after any stage, so a missing file reads as empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from recipekit.dataset import Dataset
from recipekit.errors import StoreError
from recipekit.file_locks import is_locked
from recipekit.report.blocks import Code, Line, join
from recipekit.tables import read_table
from recipekit.yaml_format import parse

__all__ = ["LOCK", "RunFolder", "open_run", "read_dataset"]

T = TypeVar("T")
LOCK: Final = "run.lock"
"""The file in a run's folder that its process holds a lock on."""


@dataclass(frozen=True)
class RunFolder:
    """A folder `runs/<recipe>/<run>/`. Every reader raises `StoreError` for a damaged file."""

    path: Path
    stages: Sequence[str]
    """The names of all stages, in the order of the pipeline."""

    @cached_property
    def run(self) -> dict[str, Any]:
        """`run.json`: recipe, name, seed, command, started, finished, status, stages that ran.

        The status is `killed` if the run's process ended without writing how.
        """
        run = self.read_json(self.path / "run.json", dict) or {}
        if run.get("status") == "running" and not is_locked(self.path / LOCK):
            run["status"] = "killed"
        return run

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe, with every default written out if the run got that far."""
        for name in ("recipe.resolved.yaml", "recipe.yaml"):
            file = self.path / name
            if file.is_file():
                return _parse(file, parse, dict)
        return {}

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.run.get("name") or self.recipe.get("name") or self.path.name)

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """The manifests of the finished stages, in the order of the pipeline."""
        found = {
            stage: self.read_json(self._of(stage, "manifest.json"), dict) for stage in self.stages
        }
        return {stage: manifest for stage, manifest in found.items() if manifest is not None}

    @property
    def cache(self) -> Path:
        """The root of the cache that has the run's artifacts; at least one stage finished."""
        return self._of(next(iter(self.manifests)), "").resolve().parents[2]

    def by_products(self, stage: str, kind: str) -> Iterator[tuple[dict[str, Any], Path]]:
        """The manifests and folders of a stage's by-products of one kind, as far as they exist."""
        artifacts = self._of(stage, "").resolve().parents[1]
        for found, key in self.manifests.get(stage, {}).get("by_products") or ():
            folder = artifacts / str(found) / str(key)
            if found == kind and (manifest := self.read_json(folder / "manifest.json", dict)):
                yield manifest, folder

    def section(self, stage: str) -> Mapping[str, Any]:
        """A stage's section of the recipe, as plain data."""
        return self.recipe.get(stage) or {}

    def components(self, stage: str, field: str) -> Line:
        """The components in a field of a section: `lexical` (bm25), `dense` (exact)."""
        slots = self.section(stage).get(field) or {}
        named = [(Code(name), f" ({(slot or {}).get('use', '')})") for name, slot in slots.items()]
        return join(named)

    def summary(self, stage: str) -> Mapping[str, Any]:
        """The counts that a stage returned; empty if it did not finish."""
        return self.manifests.get(stage, {}).get("summary") or {}

    def finished(self, stage: str) -> bool:
        """Whether the stage's artifact exists."""
        return stage in self.manifests

    def reused(self, stage: str) -> bool:
        """Whether an earlier run made the stage's artifact."""
        ran = self.run.get("ran")
        return ran is not None and stage not in ran

    def file(self, stage: str, name: str) -> Path | None:
        """A file or folder of a stage's artifact, if it exists."""
        path = self._of(stage, name)
        return path if stage in self.manifests and path.exists() else None

    def table(self, stage: str, name: str) -> pa.Table | None:
        """An Arrow table of a stage's artifact, if it exists."""
        path = self.file(stage, name)
        if path is None:
            return None
        with _undamaged(path):
            return read_table(path)

    def json(self, stage: str, name: str, kind: type[T]) -> T | None:
        """A JSON file of a stage's artifact, if it exists."""
        path = self.file(stage, name)
        return None if path is None else self.read_json(path, kind)

    @cached_property
    def dataset(self) -> Dataset | None:
        """The data set, from all stages that wrote queries."""
        stages = [stage for stage in self.manifests if self.file(stage, "queries.arrow")]
        if not stages:
            return None
        first, *more = [self._of(stage, "") for stage in stages]
        return read_dataset(first, str(self.manifests[stages[0]].get("key", "")), more)

    def events(self, stage: str, event: str) -> Iterator[dict[str, Any]]:
        """The events of one name that a stage of this run logged."""
        file = self.path / "log.jsonl"
        if not file.is_file():
            return
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if f'"{event}"' not in line:
                    continue
                try:
                    record = json.loads(line)
                except ValueError:  # a killed run can leave half a line
                    continue
                if record.get("stage") == stage and record.get("event") == event:
                    yield record

    def read_json(self, path: Path, kind: type[T]) -> T | None:
        """A JSON file anywhere in the run's folder, if it exists."""
        return _parse(path, json.loads, kind) if path.is_file() else None

    def _of(self, stage: str, name: str) -> Path:
        return self.path / "stages" / stage / name


def read_dataset(path: Path, key: str, more: Sequence[Path] = ()) -> Dataset:
    """A data set whose tables can be read.

    Raises:
        StoreError: A table is damaged.
    """
    dataset = Dataset(path, key, more)
    for name in ("queries", "passages", "labels"):  # tables are read on first access
        with _undamaged(path / f"{name}.arrow"):
            getattr(dataset, name)
    return dataset


def open_run(path: Path, stages: Sequence[str]) -> RunFolder:
    """Open a run's folder.

    Raises:
        StoreError: The folder is not a run, or its files are damaged.
    """
    folder = RunFolder(path, tuple(stages))
    if not path.is_dir() or not (folder.run or folder.manifests):
        raise StoreError(
            f"{path}: not a run; the folder of a run contains run.json and stages/", code="RK540"
        )
    return folder


def _parse(path: Path, parse: Callable[[str], Any], kind: type[T]) -> T:
    with _undamaged(path):
        found = parse(path.read_text(encoding="utf-8"))
        if not isinstance(found, kind):
            raise ValueError(f"contains no {kind.__name__}")
    return found


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Raise `StoreError` for a file that cannot be parsed, with the command that makes it again."""
    try:
        yield
    except ValueError as error:  # errors of UTF-8, JSON, YAML and Arrow are ValueErrors
        in_stage = path.parent.parent.name == "stages"
        option = f"`--from {path.parent.name}`" if in_stage else "the same recipe"
        raise StoreError(
            f"{path}: damaged; `recipekit run` with {option} makes it again", code="RK542"
        ) from error
