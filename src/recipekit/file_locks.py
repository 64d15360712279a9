"""Whether a process holds a lock on a file."""

from __future__ import annotations

import fcntl
from pathlib import Path

__all__ = ["is_locked"]


def is_locked(lock: Path) -> bool:
    """Whether a process holds an exclusive lock on a file."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:  # its process may remove it at any time
        return False
    except BlockingIOError:
        return True
    return False
