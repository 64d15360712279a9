"""A process that has done the slow imports, and forks a process for each stage.

Importing torch, transformers and sentence-transformers takes longer than many stages: 20 s on two
slow cores. One process does it while the first stages run, and each later stage is a fork of it,
still with its own memory and its own end. A fork is safe only on Linux, for a single rank, and
before anything has used a device or computed.
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
from recipekit.pipeline.worker import main as run_job

__all__ = ["ForkServer", "serve"]

SLOW_IMPORTS = ("torch", "accelerate", "recipekit.encoders.load")
LONGEST_MESSAGE = 65536


class ForkServer:
    """The runner's side of the process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the process; its imports continue while the caller works.

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
        """Run a job in a fork, which also holds the lock.

        Returns:
            The fork's exit status, negative for a signal.
        """
        socket.send_fds(self._connection, [str(job).encode()], [lock.fileno()])
        answer = self._connection.recv(64)
        return int(answer) if answer else self._process.wait()

    def close(self) -> None:
        """End the process, and with it a stage that still runs."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def serve(connection: socket.socket) -> None:
    """Import what is slow, then fork for every job until the runner closes the connection."""
    die_with_parent()
    for name in SLOW_IMPORTS:
        import_module(name)
    while True:
        message, locks, _, _ = socket.recv_fds(connection, LONGEST_MESSAGE, 1)
        if not message:
            return
        with warnings.catch_warnings():
            # Python warns of any fork of a process with threads. The threads here are OpenBLAS'
            # idle pools, which handle forks themselves.
            warnings.simplefilter("ignore", DeprecationWarning)
            stage = os.fork()
        if stage == 0:
            connection.close()
            leave(run_job(message.decode()))
        for lock in locks:  # from now on only the fork holds them
            os.close(lock)
        _, status = os.waitpid(stage, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
