"""Messages between the machines of a run: JSON objects over TCP, one a line."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import threading
from contextlib import suppress
from typing import Any

__all__ = ["Events", "MachineConnection", "watch"]

Message = dict[str, Any]
Events = queue.Queue[tuple[int, Message | None]]
"""What a machine did, by its number: a message, or None when it is lost."""

KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
"""A machine that loses power or its network is lost after 40 seconds, a killed process at once."""


class MachineConnection:
    """One end of a connection."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(None)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._socket, self._lines = connected, connected.makefile("r", encoding="utf-8")

    def send(self, **message: Any) -> None:
        """Send a message; one to a machine that is lost goes nowhere."""
        with suppress(OSError):
            self._socket.sendall((json.dumps(message) + "\n").encode())

    def receive(self) -> Message | None:
        """Wait for a message; return None when the other end is lost."""
        try:
            line = self._lines.readline()
            return json.loads(line) if line.endswith("\n") else None
        except (OSError, ValueError):
            return None

    def forward(self, number: int, events: Events) -> None:
        """Put all messages of a machine into a queue, in a thread of its own."""

        def read() -> None:
            message = self.receive()
            while message is not None:
                events.put((number, message))
                message = self.receive()
            events.put((number, None))

        threading.Thread(target=read, daemon=True).start()

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends a read in another thread
        self._lines.close()
        self._socket.close()


def watch(process: subprocess.Popen[bytes], number: int, events: Events) -> None:
    """Put the exit status of this machine's process into a queue when it ends."""

    def wait() -> None:
        events.put((number, {"status": process.wait()}))

    threading.Thread(target=wait, daemon=True).start()
