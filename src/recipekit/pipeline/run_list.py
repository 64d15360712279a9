"""Which runs exist: their recipe, when they ran, how they ended, and their main figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from recipekit.errors import StoreError
from recipekit.report.blocks import Block, Line, Table
from recipekit.report.metrics import EvaluatorMetrics, evaluator_metrics
from recipekit.report.numbers import duration
from recipekit.report.run_folder import RunFolder, open_run
from recipekit.stages import PIPELINE

__all__ = ["ListedRun", "listed_runs", "runs_table"]


@dataclass(frozen=True)
class ListedRun:
    """A run as `recipekit runs` lists it."""

    recipe: str
    id: str
    """The name of its folder."""
    path: Path
    started: str | None
    finished: str | None
    status: str
    """`finished`, `failed`, `interrupted`, `running`, `killed`, or `damaged`."""
    reason: str | None
    ran: Sequence[str]
    """The stages that it executed."""
    metrics: Sequence[Mapping[str, Any]]
    """The rows of its `metrics.json`."""
    is_latest: bool

    @property
    def seconds(self) -> float | None:
        """Wall time from start to end, if it has ended."""
        if not self.started or not self.finished:
            return None
        try:
            both = [datetime.fromisoformat(time) for time in (self.started, self.finished)]
        except ValueError:
            return None
        return (both[1] - both[0]).total_seconds()

    def as_json(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        return {**vars(self), "path": str(self.path.absolute()), "seconds": self.seconds}


def listed_runs(runs: Path, recipe: str | None = None) -> list[ListedRun]:
    """Return the runs in a folder, newest first.

    Args:
        runs: The folder of all runs.
        recipe: The name of a recipe, to list only its runs.
    """
    folders = [runs / recipe] if recipe is not None else _folders(runs)
    found = [_listed(folder) for parent in folders for folder in _folders(parent)]
    return sorted(found, key=lambda run: run.id, reverse=True)


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(each for each in parent.iterdir() if each.is_dir() and not each.is_symlink())


def _listed(folder: Path) -> ListedRun:
    latest = folder.parent / "latest"
    common: dict[str, Any] = {
        "recipe": folder.parent.name,
        "id": folder.name,
        "path": folder,
        "is_latest": latest.is_symlink() and latest.readlink() == Path(folder.name),
    }
    try:
        run = open_run(folder, [stage.name for stage in PIPELINE])
        metrics = run.read_json(folder / "metrics.json", list) or []
    except StoreError as error:
        nothing: dict[str, Any] = {"started": None, "finished": None, "ran": (), "metrics": ()}
        return ListedRun(**common, **nothing, status="damaged", reason=error.message)
    return ListedRun(**common, **_facts(run), metrics=metrics)


def _facts(run: RunFolder) -> dict[str, Any]:
    return {
        "started": run.run.get("started"),
        "finished": run.run.get("finished"),
        "status": str(run.run.get("status") or "unknown"),
        "reason": run.run.get("reason"),
        "ran": tuple(run.run.get("ran") or ()),
    }


def runs_table(runs: Sequence[ListedRun]) -> list[Block]:
    """The runs as a table, one a row, with the main metric of every system."""
    rows: list[list[Line]] = [
        [
            (run.started or "").replace("T", " ").removesuffix("+00:00"),
            run.recipe,
            f"{run.id} (latest)" if run.is_latest else run.id,
            run.status,
            duration(run.seconds),
            "; ".join(_main_figures(run)) or run.reason or "",
        ]
        for run in runs
    ]
    return [Table(["started (UTC)", "recipe", "run", "status", "time", "figures"], rows, left=6)]


def _main_figures(run: ListedRun) -> Iterator[str]:
    """Yield one text for each evaluator: its first metric, for every system."""
    found = evaluator_metrics(run.metrics)
    for measured in found:
        values = ", ".join(_values(measured))
        name = f"{measured.evaluator} " if len(found) > 1 else ""
        yield f"{name}{measured.metrics[0]}: {values}"


def _values(measured: EvaluatorMetrics) -> Iterator[str]:
    for system in measured.systems:
        row = measured.row(system, measured.metrics[0])
        if row is not None and row.get("value") is not None:
            yield f"{system} {row['value']:.3f}"
