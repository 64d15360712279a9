"""Runs a module that starts ranks: `rank_launcher MODULE ARGUMENTS... JOB.json`.

The ranks end when the runner does; otherwise a runner that is killed would leave them behind. A
rank that fails leaves its error for the runner, so the module's own report of it is not shown. For
one that cannot, since it was killed, this process leaves it. It ends as the first rank did that
failed.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from recipekit.errors import RunError, StoreError
from recipekit.pipeline.job import EXIT_NO_SPACE, EXIT_REPORTED, Job, killed_by, write_error
from recipekit.pipeline.worker import die_with_parent, leave, report_unexpected

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Run a module with its arguments."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)
    job = Job.read(Path(arguments[-1]))
    sys.argv = arguments
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        _report(job, rank, first.exitcode)
        _end_as(first.exitcode)
    except SignalException as error:
        _end_as(-int(error.sigval))
    except Exception as error:
        # Machines that have lost one another fail here, too, and then the cause is already known.
        leave(EXIT_REPORTED if job.error_file.exists() else report_unexpected(job, error))


def _report(job: Job, rank: int, status: int) -> None:
    """Leave an error for a rank that ended without one."""
    if status == EXIT_NO_SPACE or job.error_file.exists():
        return
    name = job.name_rank(rank)
    error = RunError(
        f"the process of {name} exited with status {status} without an error message", code="RK609"
    )
    if status < 0:
        error = RunError(f"{name} was {killed_by(status)}", code="RK608")
    with suppress(OSError, StoreError):  # the disk is full: the exit status has to do
        write_error(job.error_file, error)


def _end_as(status: int) -> NoReturn:
    """End with an exit status, negative for a signal."""
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    leave(status)


if __name__ == "__main__":
    die_with_parent()
    main(sys.argv[1:])
