"""The process of one stage: `python -m recipekit.pipeline.worker JOB.json`.

It loads the recipe that the run resolved, calls the stage, and leaves a result or an error in the
run's folder. The runner decides whether the artifact is committed. With several ranks, one such
process runs per rank.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, NoReturn, TextIO, cast

from recipekit.artifacts.storage_errors import full_disk, newest_file, storage_error
from recipekit.artifacts.store import Artifact, Store, write_json
from recipekit.component import Ranks, SingleProcess, Spending
from recipekit.errors import RecipekitError, RunError, StoreError
from recipekit.pipeline.job import EXIT_NO_SPACE, EXIT_REPORTED, Job, StageResult, write_error
from recipekit.pipeline.progress import ConsoleProgress
from recipekit.pipeline.trackers import TrainingTracker
from recipekit.recipe.environment import redact
from recipekit.recipe.sections import Recipe
from recipekit.stages import stage_named
from recipekit.stages.accounts import accounts_of
from recipekit.stages.inputs import StageInputs
from recipekit.stages.recipe import load_recipe
from recipekit.stages.stage import Stage
from recipekit.training.parallel import has_lost_rank, join_ranks

__all__ = ["die_with_parent", "leave", "main", "report_unexpected"]

SECONDS_FOR_THE_CAUSE = 15.0
"""How long a rank that has lost another waits to be ended, before it reports the loss itself.

The launcher sees within a tenth of a second why a rank of its machine ended, and machine 0 within
three seconds why one of another machine did.
"""


def main(job_file: str) -> int:
    """Run one stage and return the exit status."""
    die_with_parent()
    job = Job.read(Path(job_file))
    error_file, rank = job.error_file, int(os.environ.get("RANK", "0"))
    try:
        run_stage(job)
    except RecipekitError as error:
        if rank == 0 or not error_file.exists():
            return _leave(error_file, error.with_message(redact(error.message)))
        return EXIT_REPORTED
    except Exception as error:
        if job.ranks > 1 and has_lost_rank(error):
            return _lost_rank(job, error, rank)
        return _failed(job, error, error_file)
    return 0


def run_stage(job: Job) -> None:
    """Call the stage and write its result."""
    run = Path(job.run)
    recipe = load_recipe(
        run / "recipe.resolved.yaml",
        allow_local_code=job.allow_local_code,
        trust_remote_code=job.trust_remote_code,
    )
    stage = stage_named(job.stage)
    ranks: Ranks = SingleProcess()
    if stage.ranks:
        ranks = join_ranks(job.ranks, job.sharding, pass_divisor=job.pass_divisor)
    progress = ConsoleProgress(
        run / "log.jsonl",
        job.stage,
        is_main=ranks.is_main,
        stream=_events() if job.output == "json" else None,
        output=job.output,
    )
    inputs = _inputs(job, recipe, ranks, progress)
    if job.tracker and stage.trains and ranks.is_main:
        progress.tracker = TrainingTracker(job.tracker, recipe.name, run)
    try:
        with _recorded_precisions(stage) as precisions:
            summary = stage.run(inputs, getattr(recipe, stage.name), Path(job.partial))
    finally:
        if progress.tracker is not None:
            progress.tracker.finish()
    ranks.barrier()
    if ranks.is_main:
        inputs.hashes.save()
        by_products = [list(used) for used in dict.fromkeys(inputs.by_products)]
        device = _device(ranks, precisions) if stage.ranks else None
        result = StageResult(summary, by_products, _peak_bytes(), device)
        write_json(run / f"{job.stage}.result.json", asdict(result))


def _events() -> TextIO:
    """Keep standard output for events: what libraries print goes to standard error from now on.

    A reader that has gone away does not stop the stage: the runner stops after it.
    """
    events = _Events(open(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    return cast(TextIO, events)


class _Events(io.TextIOBase):
    """A text stream that writes to nowhere once its reader has gone away."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            self._file = open(os.devnull, "w")
        return len(text)


def _inputs(job: Job, recipe: Recipe, ranks: Ranks, progress: ConsoleProgress) -> StageInputs:
    store, run = Store(Path(job.cache)), Path(job.run)
    artifacts = {
        name: Artifact(name, key, store.cache / name / key) for name, key in job.inputs.items()
    }
    return replace(
        StageInputs.of(recipe, store, artifacts, progress, ranks),
        recipe_text=(run / "recipe.resolved.yaml").read_text(),
        recipe_folder=Path(job.recipe_folder) if job.recipe_folder else None,
        command=job.command,
        run=run,
        spending=_spending(job, recipe),
    )


def _spending(job: Job, recipe: Recipe) -> Spending:
    """Return what the stage may spend."""
    if not stage_named(job.stage).spends:
        return Spending()
    return Spending(accounts_of(recipe, job.stage, job.ledger))


def _peak_bytes() -> int:
    """Return the highest resident memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _recorded_precisions(stage: Stage) -> AbstractContextManager[Iterable[str]]:
    """Record the precisions in which a stage computes, if it computes on a device."""
    if not stage.ranks:
        return nullcontext(())
    from recipekit.encoding.precision import recorded_precisions

    return recorded_precisions()


def _device(ranks: Ranks, precisions: Iterable[str]) -> str:
    from recipekit.encoding.precision import name_device

    return name_device(ranks.device, precisions)


def _failed(job: Job, error: Exception, error_file: Path) -> int:
    """Write the error for an exception that is not one of recipekit's."""
    folders = [Path(job.cache), Path(job.run)]
    if full := full_disk(error, folders, newest_file(Path(job.partial))):
        return _leave(error_file, full)
    if isinstance(error, OSError) and error.filename is not None:
        file = Path(os.fsdecode(error.filename)).absolute()
        for folder in folders:
            if file.is_relative_to(folder) and (found := storage_error(error, folder)):
                return _leave(error_file, found)
    return report_unexpected(job, error)


def _lost_rank(job: Job, error: Exception, rank: int) -> int:
    """Wait to be ended by the launcher, which knows why another rank ended.

    If it does not end this rank, the ranks all live and have lost their connection.
    """
    time.sleep(SECONDS_FOR_THE_CAUSE)
    if job.error_file.exists():
        return EXIT_REPORTED
    what = f"{job.name_rank(rank)} lost its connection to another rank"
    return _with_traceback(job, error, what, code="RK629")


def _leave(file: Path, error: RecipekitError) -> int:
    """Leave an error for the runner and return the exit status."""
    try:
        write_error(file, error)
    except (OSError, StoreError):  # the run's folder can be on the full disk, too
        return EXIT_NO_SPACE
    return EXIT_REPORTED


def report_unexpected(job: Job, error: Exception) -> int:
    """Leave an unexpected error for the runner, and its traceback; return the exit status."""
    reason = redact(f"{type(error).__name__}: {error}".strip().splitlines()[0])
    return _with_traceback(job, error, reason, code="RK601")


def _with_traceback(job: Job, error: Exception, message: str, *, code: str) -> int:
    """Write an error's traceback to a file, and one line for the runner."""
    traceback_file = Path(job.run) / f"{job.stage}.traceback.txt"
    with contextlib.suppress(OSError):
        traceback_file.write_text(redact("".join(traceback.format_exception(error))))
    reported = RunError(f"{message} (traceback: {traceback_file})", code=code)
    return _leave(job.error_file, reported)


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, so that no orphan keeps working.

    Interrupts are left to the runner, which ends this process itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


def leave(status: int) -> NoReturn:
    """End this process at once, without Python's own shutdown.

    Everything that matters is on disk. In a fork, exit handlers belong to the parent. On one of
    several ranks, torch's threads may still use what the shutdown tears down, which would abort a
    process that has finished its work.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the reader is gone, or its disk is full
            if stream is not None:
                stream.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main(sys.argv[1]))
