"""Servers that do not outlive their test session, however that ends: a shell waits beside each for
the session's end of a pipe to close.
"""

import subprocess
from pathlib import Path

__all__ = ["let_go", "watch"]

SCRIPT = 'read -r _; kill -s KILL -- "-$1" 2>/dev/null; sleep 1; rm -rf -- "$2"'


def watch(server: subprocess.Popen[bytes], folder: Path) -> subprocess.Popen[bytes]:
    """Kill a server's process group and remove its folder once this process is gone; see `let_go`.

    The system closes the pipe even where this process is killed, and no program that it starts
    inherits it. (A signal at the parent's death, PR_SET_PDEATHSIG, would reach the first process
    alone, and would come when the thread that started it ends.)
    """
    command = ["sh", "-c", SCRIPT, "watchdog", str(server.pid), str(folder)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def let_go(watchdog: subprocess.Popen[bytes]) -> None:
    """Watch no longer."""
    watchdog.kill()
    watchdog.communicate()
