"""A job: what the runner tells the process that makes one stage, and what that process says when it
has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from recipekit import errors
from recipekit.artifacts.store import write_json
from recipekit.errors import RecipekitError

__all__ = ["EXIT_NO_SPACE", "EXIT_REPORTED", "Job", "StageResult", "read_error", "write_error"]

EXIT_REPORTED = 65
"""The stage failed with an error of ours, which it told."""
EXIT_NO_SPACE = 28
"""The disk is full, and the error could not be written either."""


@dataclass(frozen=True)
class Job:
    """One stage to make."""

    stage: str
    key: str
    run: str
    """The run's folder: `recipe.resolved.yaml` is read from it, `log.jsonl` written to it."""
    cache: str
    partial: str
    """Where the artifact is made."""
    inputs: Mapping[str, str]
    """Keys of the finished artifacts, by stage: all of them, for export reads what others do not.
    """
    ranks: int
    command: str
    """The command that repeats the run."""
    allow_local_code: bool = False

    def write(self, path: Path) -> Path:
        """Write the job where its process finds it."""
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a job."""
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class StageResult:
    """What a stage's process says of its work."""

    summary: Mapping[str, Any]
    uses: list[list[str]]
    """By-products that it used, as [stage, key]."""
    peak_bytes: int
    """Resident memory at its highest, of the main rank."""
    device: str | None = None
    """What the main rank computed on, in words; None where nothing was computed with torch."""


def write_error(path: Path, error: RecipekitError) -> None:
    """Leave an error for the runner to raise."""
    write_json(path, {"type": type(error).__name__, "message": error.message, "code": error.code})


def read_error(path: Path) -> RecipekitError | None:
    """The error that a stage left, if it left one."""
    if not path.is_file():
        return None
    told = json.loads(path.read_text())
    kind = getattr(errors, told["type"], RecipekitError)
    error: RecipekitError = kind(told["message"], code=told["code"])
    return error
