"""A context without a run, and a progress that records everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipekit.artifacts.key import FileHashes, key_of
from recipekit.component import Context, Tracker
from recipekit.dataset import Dataset

__all__ = ["RecordingProgress", "context"]


class RecordingProgress:
    """A `Progress` that shows nothing and records everything, for assertions."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.warnings: list[str] = []

    def track(self, name: str, total: int | None = None, unit: str = "") -> Tracker:
        """Return a task that shows nothing."""
        return _Silent()

    def log(self, event: str, **fields: Any) -> None:
        """Record the event."""
        self.events.append({"event": event, **fields})

    def info(self, message: str) -> None:
        """Record the message."""
        self.events.append({"event": "info", "message": message})

    def warn(self, message: str) -> None:
        """Record the warning."""
        self.warnings.append(message)


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def advance(self, n: int = 1, **figures: float | str) -> None:
        """Ignore it."""


def context(
    scratch: Path, *, dataset: Dataset | None = None, seed: int = 13, **replaced: Any
) -> Context:
    """Return a context with one rank on the CPU, and by-products below `scratch`."""

    def artifact(name: str, identity: Any, build: Callable[[Path], None]) -> Path:
        folder = scratch / f"{name}-{key_of(identity)[:8]}"
        if not folder.exists():
            folder.mkdir(parents=True)
            build(folder)
        return folder

    def corpus() -> str:
        assert dataset is not None
        return FileHashes().of(dataset.files("passage")[0])

    given: dict[str, Any] = {
        "progress": RecordingProgress(),
        "artifact": artifact,
        "_corpus": corpus,
        **replaced,
    }
    return Context(seed=seed, scratch=scratch, _dataset=dataset, **given)
