"""Watchdogs that end servers with the test session, even if the session is killed.

Each is a shell that waits for the session's end of a pipe to close.
"""

import subprocess
from pathlib import Path

__all__ = ["unwatch", "watch"]

SCRIPT = 'read -r _; kill -s KILL -- "-$1" 2>/dev/null; sleep 1; rm -rf -- "$2"'


def watch(server: subprocess.Popen[bytes], folder: Path) -> subprocess.Popen[bytes]:
    """Kill a server's process group and remove its folder when this process ends; see `unwatch`.

    The system closes the pipe even if this process is killed, and child processes do not inherit
    it. (PR_SET_PDEATHSIG would only reach the first process, when the starting thread ends.)
    """
    command = ["sh", "-c", SCRIPT, "watchdog", str(server.pid), str(folder)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def unwatch(watchdog: subprocess.Popen[bytes]) -> None:
    """Stop watching."""
    watchdog.kill()
    watchdog.communicate()
