"""Runs a module that starts ranks: `rank_launcher MODULE ARGUMENTS...`.

The ranks end when the runner does; otherwise a runner that is killed would leave them behind. A
rank that fails leaves its error for the runner, so the module's own report of it is not shown. This
process ends as the first rank did that failed.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import sys
from typing import NoReturn

from recipekit.pipeline.worker import die_with_parent, leave

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Run a module with its arguments."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)
    sys.argv = arguments
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        _end_as(first.exitcode)
    except SignalException as error:
        _end_as(-int(error.sigval))


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
