"""Test servers do not outlive the test session."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """\
import subprocess, sys, time
from pathlib import Path
from servers.watchdog import watch
command = ["sh", "-c", "sleep 600 & echo $!; wait"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
watch(server, Path(sys.argv[1]))
print(server.pid, server.stdout.readline().decode(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_killed_session_leaves_no_server_behind(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as session:
        assert session.stdout is not None
        server, child = map(int, session.stdout.readline().split())
        assert not _ended(server)
        assert not _ended(child)
        session.send_signal(signal.SIGKILL)
    _wait_until(lambda: _ended(server) and _ended(child))
    _wait_until(lambda: not folder.exists())


def _ended(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def _wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
