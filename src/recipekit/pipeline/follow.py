"""The other machines' side of a run on several machines: they run what machine 0 asks for."""

from __future__ import annotations

import queue
import socket
import time
from contextlib import closing, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import recipekit
from recipekit.errors import RunError
from recipekit.pipeline.connection import Events, MachineConnection, watch
from recipekit.pipeline.crew import SECONDS_TO_JOIN
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.machines import Machines
from recipekit.pipeline.processes import process_within
from recipekit.pipeline.run_events import OnEvent, RunEvent
from recipekit.pipeline.run_result import Run

__all__ = ["follow"]

SECONDS_TO_SEE = 30.0
"""How long a new file may take to appear in a shared folder."""
SECONDS_BETWEEN_LOOKS = 0.2
LEADER, HERE = 0, 1
"""The sources of events: machine 0, and this machine's own process."""


def follow(launch: Launch, command: str, on_event: OnEvent) -> Run:
    """Join machine 0, and run this machine's ranks of its distributed stages until its run ends.

    Args:
        launch: How processes are started; this is not machine 0.
        command: The command that repeats the run on this machine.
        on_event: Receives what happens.

    Returns:
        Machine 0's run.

    Raises:
        RunError: Machine 0 was not found or was lost, the folder is not shared, or the run failed.
    """
    assert launch.machines is not None, "there are several machines"
    return _Follower(launch, launch.machines, command, on_event).run()


class _Follower:
    """One machine that is not machine 0."""

    def __init__(self, launch: Launch, machines: Machines, command: str, on_event: OnEvent) -> None:
        self.launch, self.machines, self.on_event = launch, machines, on_event
        self.command = command
        self.leader = f"machine 0 ({machines.address})"
        self.events: Events = queue.Queue()

    def run(self) -> Run:
        """Follow machine 0 to the end of its run."""
        self._emit("machine_waiting", f"waiting for {self.leader} at port {self.machines.port}")
        with closing(MachineConnection(self._connected())) as connection:
            self._join(connection)
            self._emit("machine_joined", f"joined {self.leader}, which runs the stages")
            return self._serve(connection)

    def _serve(self, connection: MachineConnection) -> Run:
        """Run the stages that machine 0 asks for; return its run when that has finished."""
        connection.forward(LEADER, self.events)
        while True:
            _, message = self.events.get()
            if message is None:
                raise self._lost("")
            if "failed" in message:
                raise RunError(
                    f"{self.leader} ended the run: {message['failed']}\n"
                    f"To start this machine again: {self.command}",
                    code="RK614",
                )
            if "finished" in message:
                end = message["finished"]
                return Run(Path(end["run"]), tuple(end["ran"]), tuple(end["cached"]))
            if "stage" in message:
                self._stage(connection, message)

    def _emit(self, name: str, line: str, **fields: Any) -> None:
        fields |= {"machine": self.machines.number}
        self.on_event(RunEvent(name, fields, f"machine {self.machines.number}: {line}"))

    # Joining
    # ---------------------------------------------------------------------------------------------

    def _join(self, connection: MachineConnection) -> None:
        """Introduce this machine, and check that both see the same folder."""
        connection.send(
            machine=self.machines.number,
            count=self.machines.count,
            host=socket.gethostname(),
            version=recipekit.__version__,
        )
        welcome = connection.receive()
        if welcome is None:
            raise self._lost("")
        if "failed" in welcome:
            raise RunError(f"{self.leader} refused: {welcome['failed']}", code="RK613")
        token = Path(welcome["token"])
        sees_folder = _appears(token)
        connection.send(sees_folder=sees_folder)
        if not sees_folder:
            raise RunError(
                f"this machine does not see {token.parent.parent}, where {self.leader} keeps the "
                "run: all machines need one shared folder, under the same path",
                code="RK613",
            )

    def _connected(self) -> socket.socket:
        deadline = time.monotonic() + SECONDS_TO_JOIN
        address = (self.machines.address, self.machines.port)
        while True:
            try:
                return socket.create_connection(address, timeout=10)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"{self.leader} did not answer at port {self.machines.port} within "
                        f"{SECONDS_TO_JOIN:.0f} s ({error}): run the same command there",
                        code="RK613",
                    ) from error
            time.sleep(SECONDS_BETWEEN_LOOKS)

    # Stages
    # ---------------------------------------------------------------------------------------------

    def _stage(self, connection: MachineConnection, message: dict[str, Any]) -> None:
        """Run this machine's ranks of a stage, and report their exit status."""
        stage = message["stage"]
        again, restarts = "", message["restarts"]
        if restarts:
            again = f" again with smaller forward passes (restart {restarts})"
        self._emit("machine_stage", f"{stage}: running{again}", stage=stage)
        command = self.launch.command(Path(message["job"]), ranks=True, port=message["port"])
        with process_within(command, self.launch.environment()) as process:
            watch(process, HERE, self.events)
            status = self._wait(stage, process)
        connection.send(status=status)

    def _wait(self, stage: str, process: Popen[bytes]) -> int:
        while True:
            source, message = self.events.get()
            if source == HERE and message is not None:
                return int(message["status"])
            if message is None:
                raise self._lost(f"{stage}: ")
            if "stop" in message:
                process.terminate()

    def _lost(self, where: str) -> RunError:
        return RunError(
            f"{where}{self.leader} was lost. Finished stages are kept. To resume, start every "
            f"machine again; here: {self.command}",
            code="RK614",
        )


def _appears(token: Path) -> bool:
    """Return whether a file that machine 0 has written appears here."""
    deadline = time.monotonic() + SECONDS_TO_SEE
    while True:
        with suppress(OSError):
            if token.read_text() == token.name:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
