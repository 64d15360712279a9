"""Running one stage in a process of its own, or in one process per rank."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recipekit.artifacts.storage_errors import disk_without_space
from recipekit.errors import RecipekitError, RunError
from recipekit.pipeline.fork_server import ForkServer
from recipekit.pipeline.job import EXIT_NO_SPACE, Job, StageResult, read_error
from recipekit.pipeline.launch import Launch

__all__ = ["StageProcesses"]

SECONDS_TO_TERMINATE = 10
KILLED_BY = {
    signal.SIGKILL: " (the system kills processes that use too much memory)",
    signal.SIGTERM: " (another program or user ended it, such as a job scheduler)",
}
"""Who usually sends a signal. recipekit itself sends neither to a stage that it waits for."""


class StageProcesses:
    """Starts the processes of a run's stages."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._warm: ForkServer | None = None

    def warm_up(self) -> None:
        """Begin the slow imports now, where later processes can share them."""
        if self.launch.ranks == 1 and sys.platform == "linux":
            self._warm = ForkServer(self.launch.environment())

    def close(self) -> None:
        """End the process that holds the slow imports."""
        if self._warm is not None:
            self._warm.close()

    def run(self, job: Job, lock: IO[str], *, computes: bool) -> StageResult:
        """Run a stage to its end.

        Args:
            job: The stage, its inputs and its folders.
            lock: The lock on its artifact. The process inherits it, so that no other run starts the
                stage while the process lives.
            computes: Whether the stage computes with torch, on all ranks.

        Raises:
            RecipekitError: The stage failed. The message ends with the command that resumes it.
        """
        run = Path(job.run)
        job_file = job.write(run / f"{job.stage}.job.json")
        if self._warm is not None and computes:
            status = self._warm.run(job_file, lock)
        else:
            command = self.launch.command(job_file, ranks=computes)
            with _process(command, self.launch.environment(), lock) as process:
                status = process.wait()
        job_file.unlink()
        result_file = run / f"{job.stage}.result.json"
        if status == 0 and result_file.is_file():
            result = StageResult(**json.loads(result_file.read_text()))
            result_file.unlink()
            return result
        raise _failure(job, status)


def _failure(job: Job, status: int) -> RecipekitError:
    """Return the error for a stage that did not finish."""
    name, resume = job.stage, f"Finished stages are kept. To resume: {job.command}"
    error = read_error(Path(job.run) / f"{name}.error.json")
    if error is not None:
        return error.with_message(f"{name}: {error.message}\n{resume}")
    if status == EXIT_NO_SPACE:
        folder = disk_without_space([Path(job.cache), Path(job.run)])
        message = f"{name}: no space left on the disk of {folder}\n{resume}"
        return RunError(message, code="RK501")
    if status < 0:
        killed_by = signal.Signals(-status)
        hint = KILLED_BY.get(killed_by, "")
        return RunError(f"{name}: killed by {killed_by.name}{hint}. {resume}", code="RK608")
    return RunError(
        f"{name}: its process exited with status {status} without an error message. {resume}",
        code="RK609",
    )


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], lock: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that never outlives this block."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, pass_fds=(lock.fileno(),)
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=SECONDS_TO_TERMINATE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
