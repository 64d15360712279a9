"""The folder of a run, while the run writes it.

`runs/<recipe>/<utc>-<key>/` holds the recipe as given and as resolved, the plan, the log, links to
the artifacts of the stages, metrics and report. `runs/<recipe>/latest` links to the newest run
that passed the checks before its first stage. `run.lock` exists until the run ends, and its
process holds a lock on it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from recipekit.artifacts.key import key_of
from recipekit.artifacts.storage_errors import check_folder, explained
from recipekit.artifacts.store import Artifact, write_json
from recipekit.pipeline.plan import Plan
from recipekit.recipe.environment import redact
from recipekit.recipe.fill import filled
from recipekit.recipe.sections import Recipe
from recipekit.report.run_folder import LOCK

__all__ = ["RunRecord", "utc_now"]

MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class RunRecord:
    """A run's folder."""

    path: Path
    recipe: Recipe
    command: str
    """The command that repeats the run."""
    started: str
    lock: IO[str]
    """Held until `release`, or until the process ends."""

    @classmethod
    def create(cls, runs: Path, recipe: Recipe, plan: Plan, command: str | None) -> Self:
        """Make the folder, and write down what will be done.

        Args:
            runs: The folder of all runs.
            recipe: The recipe.
            plan: What will be done.
            command: The command that repeats the run; by default, one that runs the same recipe.

        Raises:
            StoreError: The folder cannot be written.
        """
        path = _new_folder(runs, plan)
        with explained(path):
            lock = (path / LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = cls(path, recipe, command or _command(recipe, path), utc_now(), lock)
            (path / "recipe.yaml").write_text(recipe.origin.text, encoding="utf-8")
            (path / "recipe.resolved.yaml").write_text(filled(recipe), encoding="utf-8")
            record.write_plan(plan)
            record.write_status("running", ran=[])
        return record

    def release(self) -> None:
        """Remove the lock, after the end of the run was written."""
        with suppress(OSError):
            (self.path / LOCK).unlink(missing_ok=True)
        self.lock.close()

    def write_plan(self, plan: Plan) -> None:
        """Write `plan.json`, which tells `cache gc` what the run would resume."""
        write_json(self.path / "plan.json", plan.as_json())

    def make_latest(self) -> Path | None:
        """Point `latest` at this run, and return where it pointed before."""
        latest = self.path.parent / "latest"
        before = latest.readlink() if latest.is_symlink() else None
        with explained(self.path.parent):
            _link(latest, Path(self.path.name))
        return before

    def restore_latest(self, before: Path | None) -> None:
        """Point `latest` where it pointed before `make_latest`, unless a later run has it."""
        latest = self.path.parent / "latest"
        if not latest.is_symlink() or latest.readlink() != Path(self.path.name):
            return
        with explained(self.path.parent):
            if before is None:
                latest.unlink()
            else:
                _link(latest, before)

    def link(self, artifact: Artifact) -> None:
        """Link to the artifact of a stage."""
        link = self.path / "stages" / artifact.stage
        with explained(self.path):
            link.symlink_to(os.path.relpath(artifact.path.absolute(), link.parent.absolute()))

    def write_status(
        self,
        status: str,
        *,
        ran: list[str],
        reason: str | None = None,
        restarts: Sequence[Mapping[str, Any]] = (),
        exported_to: Path | None = None,
    ) -> None:
        """Write `run.json`.

        Args:
            status: `running`, `finished`, `failed` or `interrupted`.
            ran: The stages that this run executed; it took the others from the cache.
            reason: Why the run failed, in one line.
            restarts: Each time that the ranks of a stage started again with smaller passes: stage,
                number, reason, and what the stage had saved.
            exported_to: The folder of `--export-to`, if it has the exports.
        """
        origin = self.recipe.origin
        values: Mapping[str, Any] = {
            "recipe": str(origin.path) if origin.path else None,
            "name": self.recipe.name,
            "seed": self.recipe.seed,
            "command": self.command,
            "started": self.started,
            "finished": None if status == "running" else utc_now(),
            "status": status,
            **({"reason": redact(reason)} if reason else {}),
            "ran": ran,
            **({"restarts": list(restarts)} if restarts else {}),
            **({"exported_to": str(exported_to.absolute())} if exported_to else {}),
        }
        write_json(self.path / "run.json", values)


def utc_now() -> str:
    """Return the time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _command(recipe: Recipe, run: Path) -> str:
    """Return the command for a run that a Python program started."""
    origin = recipe.origin
    file = origin.path or run.absolute() / "recipe.resolved.yaml"
    arguments = ["recipekit", "run", str(file)]
    for override in origin.overrides if origin.path else ():
        arguments += ["--set", override]
    if origin.allow_local_code:
        arguments.append("--allow-local-code")
    if origin.trust_remote_code:
        arguments.append("--trust-remote-code")
    return shlex.join(arguments)


def _new_folder(runs: Path, plan: Plan) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    key = key_of([stage.key for stage in plan])[:8]
    folder = runs / plan.recipe / f"{stamp}-{key}"
    check_folder(folder.parent)
    with explained(folder):
        for attempt in range(2, MOST_ATTEMPTS):
            if not folder.exists():
                break
            folder = folder.with_name(f"{stamp}-{key}-{attempt}")
        (folder / "stages").mkdir(parents=True)
    return folder


def _link(link: Path, target: Path) -> None:
    """Point a link at another target in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
