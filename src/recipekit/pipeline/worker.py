"""The process of one stage: `python -m recipekit.pipeline.worker JOB.json`, on one rank or started
on each of several.

It loads the recipe that the run resolved, calls the stage, and leaves a result or an error in the
run's folder. Whether the artifact is committed is the runner's to decide.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

from recipekit.artifacts.store import Artifact, Store, write_json
from recipekit.component import Ranks
from recipekit.errors import NO_SPACE, RecipekitError, RunError, StoreError
from recipekit.pipeline.job import EXIT_NO_SPACE, EXIT_REPORTED, Job, StageResult, write_error
from recipekit.pipeline.progress import ConsoleProgress
from recipekit.recipe.environment import redact
from recipekit.recipe.load import load_recipe
from recipekit.recipe.sections import Recipe
from recipekit.stages.inputs import StageInputs
from recipekit.stages.pipeline import stage_named

__all__ = ["die_with_parent", "join_ranks", "leave", "main"]


def main(job_file: str) -> int:
    """Make one stage; the exit code says how it ended."""
    die_with_parent()
    job = Job.read(Path(job_file))
    run = Path(job.run)
    rank = int(os.environ.get("RANK", "0"))
    try:
        make(job)
    except OSError as error:
        if error.errno not in NO_SPACE:
            return _unexpected(job, error)
        advice = "free some (`recipekit cache gc` removes what no run needs)"
        full = StoreError(f"no space left on the disk of {job.cache}: {advice}", code="RK501")
        with contextlib.suppress(OSError):  # the run's folder may lie on the same full disk
            write_error(run / f"{job.stage}.error.json", full)
        return EXIT_NO_SPACE
    except RecipekitError as error:
        if rank == 0 or not (run / f"{job.stage}.error.json").exists():
            write_error(run / f"{job.stage}.error.json", error.with_message(redact(error.message)))
        return EXIT_REPORTED
    except Exception as error:
        return _unexpected(job, error)
    return 0


def make(job: Job) -> None:
    """Call the stage and write its result."""
    run = Path(job.run)
    recipe = load_recipe(run / "recipe.resolved.yaml", allow_local_code=job.allow_local_code)
    stage = stage_named(job.stage)
    ranks = join_ranks(job.ranks) if stage.ranks else Ranks()
    progress = ConsoleProgress(run / "log.jsonl", job.stage, is_main=ranks.is_main)
    inputs = _inputs(job, recipe, ranks, progress)
    summary = stage.function()(inputs, getattr(recipe, job.stage), Path(job.partial))
    ranks.barrier()
    if ranks.is_main:
        inputs.hashes.save()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
        uses = [list(use) for use in dict.fromkeys(inputs.uses)]
        write_json(
            run / f"{job.stage}.result.json",
            asdict(StageResult(summary, uses, peak, _device(ranks) if stage.ranks else None)),
        )


def _inputs(job: Job, recipe: Recipe, ranks: Ranks, progress: ConsoleProgress) -> StageInputs:
    store, run = Store(Path(job.cache)), Path(job.run)
    artifacts = {
        name: Artifact(name, key, store.cache / name / key) for name, key in job.inputs.items()
    }
    text = (run / "recipe.resolved.yaml").read_text()
    return replace(
        StageInputs.of(recipe, store, artifacts, progress, ranks),
        recipe_text=text,
        command=job.command,
        run=run,
    )


def join_ranks(asked: int) -> Ranks:
    """Join the group of ranks, and make sure that it is as large as was asked.

    Raises:
        RunError: Fewer or more ranks formed a group than the run asked for.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    if state.num_processes != asked:
        raise RunError(
            f"{asked} processes were asked for, but {state.num_processes} formed a group: check the Accelerate configuration",
            code="RK604",
        )
    return Ranks(
        state.process_index, state.num_processes, str(state.device), state.wait_for_everyone
    )


def _device(ranks: Ranks) -> str:
    from recipekit.encoding.precision import name_device

    return name_device(ranks.device)


def _unexpected(job: Job, error: Exception) -> int:
    """An error that is nobody's mistake that we know of: the whole traceback goes to a file, a line
    to the runner.
    """
    run = Path(job.run)
    (run / f"{job.stage}.traceback.txt").write_text(redact(traceback.format_exc()))
    reason = redact(f"{type(error).__name__}: {error}".strip().splitlines()[0])
    write_error(
        run / f"{job.stage}.error.json",
        RunError(f"{reason} (traceback: {run / f'{job.stage}.traceback.txt'})", code="RK601"),
    )
    return EXIT_REPORTED


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, however that ends, so that no orphan
    works on behind a new run.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the runner decides what an interrupt means, and ends us
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


def leave(status: int) -> NoReturn:
    """End this process at once, without Python's own end and what libraries do at it.

    All that counts is on disk by now. In a fork, what was registered to be done at the end is its
    parent's to do; on one of several ranks, torch's threads may still run while what they use is
    taken down, and abort a process that had made everything.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it is gone, or its disk is full
            if stream is not None:
                stream.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main(sys.argv[1]))
