"""A job: what the runner tells the process of a stage, and what that process answers."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from recipekit import errors
from recipekit.artifacts.store import write_json
from recipekit.errors import RanksOutOfMemory, RecipekitError
from recipekit.pipeline.run_events import Output
from recipekit.training.parallel import Sharding

__all__ = [
    "EXIT_NO_SPACE",
    "EXIT_REPORTED",
    "Job",
    "StageResult",
    "killed_by",
    "read_error",
    "write_error",
]

EXIT_REPORTED = 65
"""Exit status of a stage that failed and wrote its error to a file."""
EXIT_NO_SPACE = 28
"""Exit status where the disk is full, perhaps too full for the error."""

USUAL_SENDERS = {
    signal.SIGKILL: " (the system kills processes that use too much memory)",
    signal.SIGTERM: " (another program or user ended it, such as a job scheduler)",
}
"""Who usually sends a signal. recipekit itself sends neither to a stage that it waits for."""


@dataclass(frozen=True)
class Job:
    """One stage to run."""

    stage: str
    key: str
    run: str
    """The run's folder: the process reads `recipe.resolved.yaml` and appends to `log.jsonl`."""
    cache: str
    partial: str
    """The folder that the artifact is written into."""
    inputs: Mapping[str, str]
    """Keys of all artifacts that have been finished, by stage."""
    ranks: int
    command: str
    """The command that repeats the run."""
    recipe_folder: str = ""
    """The folder of the recipe, which model and data cards leave out."""
    ledger: str = ""
    """The account that the recipe's calls to paid endpoints are booked to."""
    allow_local_code: bool = False
    trust_remote_code: bool = False
    output: Output = "text"
    """How the stage shows its progress."""
    tracker: str | None = None
    """The experiment tracker that training's numbers are passed to."""
    sharding: Sharding | None = None
    """How several ranks shard the weights of encoders; None keeps them whole."""
    machines: int = 1
    """The machines that the ranks run on, the same number on each."""
    restarts: int = 0
    """How often the ranks were started again, since one ran out of memory."""

    @property
    def pass_divisor(self) -> int:
        """How many times smaller forward passes are than the recipe says: half at each restart."""
        return 1 << self.restarts

    @property
    def error_file(self) -> Path:
        """The file in which the stage leaves its error for the runner."""
        return Path(self.run) / f"{self.stage}.error.json"

    def name_rank(self, rank: int) -> str:
        """Return `rank 3`, or `rank 3 on machine 1` if there are several machines."""
        if self.machines == 1:
            return f"rank {rank}"
        return f"rank {rank} on machine {rank // (self.ranks // self.machines)}"

    @property
    def kept(self) -> str:
        """A sentence about what a run keeps when this stage fails; empty if nothing finished."""
        return "Finished stages are kept. " if self.inputs else ""

    def write(self, path: Path) -> Path:
        """Write the job where its process finds it."""
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a job."""
        fields = json.loads(path.read_text())
        sharding = fields.pop("sharding")
        return cls(**fields, sharding=Sharding(**sharding) if sharding else None)


@dataclass(frozen=True)
class StageResult:
    """The answer of a stage's process."""

    summary: Mapping[str, Any]
    by_products: list[list[str]]
    """By-products that the stage used, as [kind, key]."""
    peak_bytes: int
    """Highest resident memory of the main rank."""
    device: str | None = None
    """What the main rank computed on, in words; None for a stage that does not use torch."""


def killed_by(status: int) -> str:
    """Return how a process ended whose exit status is negative: `killed by SIGKILL (...)`."""
    number = signal.Signals(-status)
    return f"killed by {number.name}{USUAL_SENDERS.get(number, '')}"


def write_error(path: Path, error: RecipekitError) -> None:
    """Leave an error for the runner to raise."""
    fields = {"type": type(error).__name__, "message": error.message, "code": error.code}
    if isinstance(error, RanksOutOfMemory):
        fields["remedy"] = error.remedy
    write_json(path, fields)


def read_error(path: Path) -> RecipekitError | None:
    """Return the error that a stage left; None if it left none."""
    if not path.is_file():
        return None
    written = json.loads(path.read_text())
    kind = getattr(errors, written.pop("type"), RecipekitError)
    error: RecipekitError = kind(written.pop("message"), **written)
    return error
