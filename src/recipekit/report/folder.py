"""A run's folder, as the report reads it.

Whatever is missing is empty: a run may have stopped after any stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import yaml

from recipekit.dataset import Dataset
from recipekit.errors import StoreError
from recipekit.recipe.sections import SECTIONS
from recipekit.tables import read_table

__all__ = ["RunFolder", "open_run"]

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """`runs/<recipe>/<run>/`. What reads a file raises `StoreError` where that file is damaged."""

    path: Path

    @cached_property
    def run(self) -> dict[str, Any]:
        """`run.json`: recipe, name, seed, command, started, finished, status, and which stages were
        made.
        """
        return _json(self.path / "run.json", dict) or {}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe with every default written out."""
        for name in ("recipe.resolved.yaml", "recipe.yaml"):
            file = self.path / name
            if file.is_file():
                return _read(file, yaml.safe_load, dict)
        return {}

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.run.get("name") or self.recipe.get("name") or self.path.name)

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """The manifests of the stages that are there, in the stages' order."""
        found = {
            stage: _json(self.path / "stages" / stage / "manifest.json", dict) for stage in SECTIONS
        }
        return {stage: manifest for stage, manifest in found.items() if manifest is not None}

    def summary(self, stage: str) -> Mapping[str, Any]:
        """What a stage counted; empty where it did not run."""
        summary: Mapping[str, Any] = self.manifests.get(stage, {}).get("summary") or {}
        return summary

    def file(self, stage: str, name: str) -> Path | None:
        """A file of a stage's artifact, if it is there."""
        path = self.path / "stages" / stage / name
        return path if stage in self.manifests and path.is_file() else None

    def table(self, stage: str, name: str) -> pa.Table | None:
        """A table of a stage's artifact, if it is there."""
        path = self.file(stage, name)
        if path is None:
            return None
        with _undamaged(path):
            return read_table(path)

    @cached_property
    def dataset(self) -> Dataset | None:
        """The collected data."""
        path = self.file("collect", "queries.arrow")
        if path is None:
            return None
        dataset = Dataset(path.parent, str(self.manifests["collect"].get("key", "")))
        for name in ("queries", "passages", "labels"):  # they are read when they are wanted
            with _undamaged(path.with_name(f"{name}.arrow")):
                getattr(dataset, name)
        return dataset

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of the evaluate stage."""
        file = self.file("evaluate", "metrics.json")
        return _read(file, json.loads, list) if file else []

    def read(self, path: Path | None) -> dict[str, Any] | None:
        """A file of this run, if it is there."""
        return None if path is None else _json(path, dict)

    @property
    def exports(self) -> list[Path]:
        """The folders that exporters wrote."""
        folder = self.path / "stages" / "export"
        if "export" not in self.manifests:
            return []
        exporters = (self.recipe.get("export") or {}).get("exporters") or {}
        return [folder / name for name in exporters if (folder / name).is_dir()]

    def events(self, stage: str, event: str) -> Iterator[dict[str, Any]]:
        """Events of one name that a stage of this run logged."""
        file = self.path / "log.jsonl"
        if not file.is_file():
            return
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if f'"{event}"' not in line:
                    continue
                try:
                    found = json.loads(line)
                except ValueError:  # a killed run may leave half a line
                    continue
                if found.get("stage") == stage and found.get("event") == event:
                    yield found


def open_run(path: Path) -> RunFolder:
    """Open a run's folder.

    Raises:
        StoreError: There is no run at this place, or a damaged one.
    """
    folder = RunFolder(path)
    if not path.is_dir() or not (folder.run or folder.manifests):
        raise StoreError(
            f"{path}: no run is here; a run's folder holds run.json and stages/", code="RK540"
        )
    return folder


def _json(path: Path, kind: type[T]) -> T | None:
    return _read(path, json.loads, kind) if path.is_file() else None


def _read(path: Path, parse: Callable[[str], Any], kind: type[T]) -> T:
    with _undamaged(path):
        found = parse(path.read_text(encoding="utf-8"))
        if not isinstance(found, kind):
            raise ValueError(f"no {kind.__name__} stands in it")
    return found


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Turn what cannot be made out of a file into a `StoreError` that says how to get it anew."""
    try:
        yield
    except (ValueError, yaml.YAMLError) as error:  # of UTF-8, of JSON and of Arrow, too
        stage = path.parent.name if path.parent.parent.name == "stages" else None
        anew = (
            f"`recipekit run` with `--from {stage}`"
            if stage
            else "`recipekit run` with the same recipe"
        )
        raise StoreError(f"{path}: is damaged; {anew} makes it anew", code="RK542") from error
