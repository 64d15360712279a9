"""Processes that never outlive the block that starts them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

__all__ = ["process_within"]

SECONDS_TO_TERMINATE = 10


@contextmanager
def process_within(
    command: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that never outlives this block."""
    process = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, pass_fds=tuple(pass_fds)
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
