"""The command line and the stages of a run in this process, for tests that are not about processes.

A process that imports torch or an LLM client takes seconds of CPU time before it does anything, and
a run starts several.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

import pytest

from recipekit.cli.main import invoke
from recipekit.pipeline import worker
from recipekit.pipeline.job import Job
from recipekit.pipeline.stage_process import StageProcesses

__all__ = ["call_in_process", "stages_in_process"]

in_processes = StageProcesses._run


def _run(self: StageProcesses, job: Job, job_file: Path, lock: IO[str], *, computes: bool) -> int:
    """Run a stage here, with the environment that its process would have."""
    if self.launch.ranks > 1 or job.output == "json":  # JSON events need descriptors of their own
        return in_processes(self, job, job_file, lock, computes=computes)
    before = dict(os.environ)
    os.environ.update(self.launch.environment())
    try:
        with warnings.catch_warnings():  # of pytest, which a stage's own process has not
            warnings.simplefilter("ignore")
            return worker.main(str(job_file))
    finally:
        os.environ.clear()
        os.environ.update(before)
        if state := sys.modules.get("accelerate.state"):
            state.PartialState._reset_state()  # the next run may ask for another device


@contextmanager
def stages_in_process() -> Iterator[None]:
    """Run the stages of runs on one rank in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "die_with_parent", lambda: None)
        patch.setattr(StageProcesses, "warm_up", lambda self: None)
        patch.setattr(StageProcesses, "_run", _run)
        yield


def call_in_process(
    folder: Path,
    *arguments: str,
    status: int = 0,
    stdin: str = "",
    merge: bool = False,
    **environment: str,
) -> CompletedProcess[str]:
    """Run the command line in a folder, in this process; it must end with `status`.

    `merge` writes standard error into standard output.
    """
    out = io.StringIO()
    err = out if merge else io.StringIO()
    with pytest.MonkeyPatch.context() as patch, stages_in_process():
        patch.chdir(folder)
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        for name, value in environment.items():
            patch.setenv(name, value)
        with redirect_stdout(out), redirect_stderr(err):
            ended = invoke(arguments)
    assert ended == status, out.getvalue() + err.getvalue()
    return CompletedProcess(arguments, ended, out.getvalue(), err.getvalue())
