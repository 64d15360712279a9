"""Running one stage in a process of its own, or in one process per rank."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from recipekit.artifacts.storage_errors import disk_without_space
from recipekit.error_codes import exit_status
from recipekit.errors import DataError, RanksOutOfMemory, RecipekitError, RunError
from recipekit.exit_statuses import EXIT_USAGE
from recipekit.pipeline.crew import Crew
from recipekit.pipeline.fork_server import ForkServer
from recipekit.pipeline.job import EXIT_NO_SPACE, Job, StageResult, killed_by, read_error
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.processes import process_within
from recipekit.pipeline.restarts import MOST_RESTARTS

__all__ = ["StageProcesses"]

ENDED = ("RK608", "RK609")
"""Codes of errors about the end of a process, which need no line of their own."""
SIGNALS_APART = 0.2
"""Seconds in which this process, too, gets the SIGTERM that a job scheduler sends to all of a job's
processes. Its own message then takes the place of the stage's."""


class StageProcesses:
    """Starts the processes of a run's stages."""

    def __init__(self, launch: Launch, crew: Crew | None = None) -> None:
        """Start nothing yet.

        Args:
            launch: How processes are started.
            crew: The other machines, if there are several.
        """
        self.launch, self.crew = launch, crew
        self._warm: ForkServer | None = None

    def warm_up(self) -> None:
        """Begin the slow imports now, where later processes can share them."""
        if self.launch.ranks == 1 and sys.platform == "linux":
            self._warm = ForkServer(self.launch.environment())

    def close(self) -> None:
        """End the process that holds the slow imports, and leave the other machines."""
        if self._warm is not None:
            self._warm.close()
        if self.crew is not None:
            self.crew.close()

    def run(
        self,
        job: Job,
        lock: IO[str],
        *,
        computes: bool,
        restarting: Callable[[RanksOutOfMemory, int], None] = lambda error, restart: None,
    ) -> StageResult:
        """Run a stage to its end.

        If one of several ranks runs out of memory, all of them start again with forward passes of
        half the size, and continue from what the stage has saved.

        Args:
            job: The stage, its inputs and its folders.
            lock: The lock on its artifact. The process inherits it, so that no other run starts the
                stage while the process lives.
            computes: Whether the stage computes with torch, on all ranks.
            restarting: Called before ranks start again, with the reason and the restart's number.

        Raises:
            RecipekitError: The stage failed. The message ends with the command that resumes it.
        """
        while True:
            status = self._attempt(job, lock, computes=computes)
            result_file = Path(job.run) / f"{job.stage}.result.json"
            if status == 0 and result_file.is_file():
                result = StageResult(**json.loads(result_file.read_text()))
                result_file.unlink()
                return result
            error = read_error(job.error_file)
            is_stuck = self.crew is not None and self.crew.is_stuck
            if not isinstance(error, RanksOutOfMemory) or job.restarts == MOST_RESTARTS or is_stuck:
                if status == -signal.SIGTERM:
                    time.sleep(SIGNALS_APART)
                raise _failure(job, status)
            job = replace(job, restarts=job.restarts + 1)
            restarting(error, job.restarts)
            job.error_file.unlink()

    def _attempt(self, job: Job, lock: IO[str], *, computes: bool) -> int:
        """Run a stage's processes; return the exit status of the first that failed."""
        number = f".{job.restarts}" if job.restarts else ""
        job_file = job.write(Path(job.run) / f"{job.stage}.job{number}.json")
        if self._warm is not None and computes:
            status = self._warm.run(job_file, lock)
        else:
            status = self._run(job, job_file, lock, computes=computes)
        job_file.unlink()
        return status

    def _run(self, job: Job, job_file: Path, lock: IO[str], *, computes: bool) -> int:
        """Run a stage in processes of its own; return the exit status of the first that failed."""
        crew, port = self.crew, None
        if crew is not None and computes:
            port = crew.begin(job.stage, job_file, restarts=job.restarts)
        command = self.launch.command(job_file, ranks=computes, port=port)
        with process_within(command, self.launch.environment(), [lock.fileno()]) as process:
            if crew is None:
                return process.wait()
            return crew.wait(job.stage, process, computes=computes)


def _failure(job: Job, status: int) -> RecipekitError:
    """Return the error for a stage that did not finish."""
    name, resume = job.stage, f"{job.kept}To resume: {job.command}"
    error = read_error(job.error_file)
    if error is not None and error.code in ENDED:
        return error.with_message(f"{name}: {error.message}. {resume}")
    if isinstance(error, RanksOutOfMemory):
        times = f", also after {job.restarts} restarts with smaller passes" if job.restarts else ""
        return error.with_message(f"{name}: {error.message}{times}: {error.remedy}\n{resume}")
    if error is not None:
        if isinstance(error, DataError) or exit_status(error.code) == EXIT_USAGE:
            resume = f"{job.kept}After fixing it: {job.command}"
        return error.with_message(f"{name}: {error.message}\n{resume}")
    if status == EXIT_NO_SPACE:
        folder = disk_without_space([Path(job.cache), Path(job.run)])
        message = f"{name}: no space left on the disk of {folder}\n{resume}"
        return RunError(message, code="RK501")
    if status < 0:
        return RunError(f"{name}: {killed_by(status)}. {resume}", code="RK608")
    return RunError(
        f"{name}: its process exited with status {status} without an error message. {resume}",
        code="RK609",
    )
