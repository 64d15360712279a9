"""A process that has the slow imports behind it, and forks one for each stage.

Importing torch, transformers and sentence-transformers takes longer than many a stage, on two slow
cores 20 s. A process of its own does it once, while the first stages run, and each stage is a fork
of it: still a process of its own, with its own memory and its own end. Only where a fork is safe:
on Linux, for one rank, before anything has touched a device or computed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO

from recipekit.pipeline.worker import die_with_parent, leave
from recipekit.pipeline.worker import main as make_stage

__all__ = ["ForkServer", "serve"]

SLOW_IMPORTS = ("torch", "accelerate", "recipekit.encoders.load", "recipekit.stages.train.train")


class ForkServer:
    """The runner's end of it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it; its imports go on while the caller does.

        Args:
            environment: The environment of the stages' processes.
        """
        self._connection, theirs = socket.socketpair()
        command = [sys.executable, "-m", "recipekit.pipeline.fork_server", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
        )
        theirs.close()

    def run(self, job: Path, lock: IO[str]) -> int:
        """Make a job in a fork of it, which holds the lock too; returns the fork's exit status,
        negative for a signal.
        """
        socket.send_fds(self._connection, [str(job).encode()], [lock.fileno()])
        answer = self._connection.recv(64)
        return int(answer) if answer else self._process.wait()

    def close(self) -> None:
        """End it, and with it a stage that is still at work."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def serve(connection: socket.socket) -> None:
    """Import what is slow, then fork for every job that is named, until the runner is gone."""
    die_with_parent()
    for name in SLOW_IMPORTS:
        import_module(name)
    while True:
        message, locks, _, _ = socket.recv_fds(connection, 65536, 1)
        if not message:
            return
        with warnings.catch_warnings():
            # Python warns of any fork beside threads; the ones here are OpenBLAS' idle pools, which
            # prepare for forks themselves.
            warnings.simplefilter("ignore", DeprecationWarning)
            stage = os.fork()
        if stage == 0:
            connection.close()
            leave(make_stage(message.decode()))
        for lock in locks:  # the fork's from here on
            os.close(lock)
        _, status = os.waitpid(stage, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
