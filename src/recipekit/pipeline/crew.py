"""Machine 0's side of a run on several machines.

Machine 0 plans, runs what is not distributed, and commits. The others wait, and start their ranks
of each distributed stage (`recipekit.pipeline.follow`). A machine that is lost ends the run.
"""

from __future__ import annotations

import queue
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import recipekit
from recipekit.errors import RunError
from recipekit.pipeline.connection import Events, MachineConnection, watch
from recipekit.pipeline.machines import Machines

__all__ = ["SECONDS_TO_JOIN", "Crew"]

SECONDS_TO_JOIN = 600.0
"""How long machines wait for one another at the start, as in Accelerate and torchrun."""
SECONDS_TO_STOP = 30.0
"""How long machine 0 waits for the others' ranks to end after one has failed."""


class Crew:
    """The other machines of a run, as machine 0 sees them."""

    def __init__(
        self,
        machines: Machines,
        folder: Path,
        command: str,
        inform: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Wait for the other machines, and check that they share a folder with this one.

        Args:
            machines: The machines.
            folder: The cache, which must be the same folder on all machines.
            command: The command that repeats the run.
            inform: Shows a line.

        Raises:
            RunError: A machine did not come, has another version, or does not see the folder.
        """
        self.machines, self.command = machines, command
        self.is_stuck = False
        """Whether a machine's ranks did not end in time, so that no others can be started."""
        self._events: Events = queue.Queue()
        self._others: dict[int, MachineConnection] = {}
        self._hosts: dict[int, str] = {}
        token = folder / "machines" / secrets.token_hex(8)
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(token.name)
        try:
            self._gather(token, inform)
        except BaseException:
            self.close()
            raise
        finally:
            token.unlink()
        for number, other in self._others.items():
            other.forward(number, self._events)

    def _gather(self, token: Path, inform: Callable[[str], None]) -> None:
        machines = self.machines
        others = ", ".join(str(number) for number in range(1, machines.count))
        inform(f"waiting for machine {others} at {machines.address}:{machines.port}")
        try:
            server = socket.create_server(("", machines.port))
        except OSError as error:
            raise RunError(
                f"port {machines.port} of this machine cannot be used ({error.strerror}): set "
                "another main_process_port in Accelerate's configuration",
                code="RK613",
            ) from error
        deadline = time.monotonic() + SECONDS_TO_JOIN
        with server:
            while len(self._others) < machines.count - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    connected, _ = server.accept()
                except TimeoutError:
                    missing = sorted(set(range(1, machines.count)) - self._others.keys())
                    raise RunError(
                        f"machine {', '.join(map(str, missing))} did not join within "
                        f"{SECONDS_TO_JOIN:.0f} s: run the same command there",
                        code="RK613",
                    ) from None
                self._welcome(MachineConnection(connected), token)
        for number, other in self._others.items():
            answer = other.receive() or {}
            if not answer.get("sees_folder"):
                raise RunError(
                    f"{self._name(number)} does not see {token.parent.parent.absolute()}, where "
                    "machine 0 keeps the run: all machines need one shared folder, under the same "
                    "path",
                    code="RK613",
                )

    def _welcome(self, other: MachineConnection, token: Path) -> None:
        hello = other.receive() or {}
        number = hello.get("machine")
        if not isinstance(number, int) or not 0 < number < self.machines.count:
            other.close()  # something else that looked for an open port
            return
        self._hosts[number] = str(hello.get("host"))
        name, refusal = self._name(number), ""
        if number in self._others:
            refusal = f"two machines have the number {number}: each needs its own machine_rank"
        elif hello.get("count") != self.machines.count:
            refusal = f"{name} expects {hello.get('count')} machines, not {self.machines.count}"
        elif hello.get("version") != recipekit.__version__:
            refusal = f"{name} has recipekit {hello.get('version')}, not {recipekit.__version__}"
        if refusal:
            other.send(failed=refusal)
            other.close()
            raise RunError(refusal, code="RK613")
        self._others[number] = other
        other.send(token=str(token.absolute()))

    # Stages
    # ---------------------------------------------------------------------------------------------

    def begin(self, stage: str, job: Path, *, restarts: int = 0) -> int:
        """Let the others start their ranks of a stage; return the port at which all ranks meet.

        Args:
            stage: The stage.
            job: The file of its job, a new one each time: a shared folder may show an old content.
            restarts: How often the ranks were started before.
        """
        with socket.create_server(("", 0)) as free:
            port = int(free.getsockname()[1])
        for other in self._others.values():
            other.send(stage=stage, job=str(job), port=port, restarts=restarts)
        return port

    def wait(self, stage: str, process: subprocess.Popen[bytes], *, computes: bool) -> int:
        """Wait for this machine's process of a stage, and for the others' if it is distributed.

        Returns:
            The exit status, of the first process that failed if one did.

        Raises:
            RunError: A machine was lost.
        """
        watch(process, 0, self._events)
        waiting = {0, *(self._others if computes else ())}
        status, deadline = 0, None
        while waiting:
            left = None if deadline is None else max(0.01, deadline - time.monotonic())
            try:
                number, message = self._events.get(timeout=left)
            except queue.Empty:
                self.is_stuck = True
                break
            if message is None:
                raise self._lost(stage, number)
            waiting.discard(number)
            if message["status"] != 0 and deadline is None:
                status, deadline = message["status"], time.monotonic() + SECONDS_TO_STOP
                process.terminate()
                for other in self._others.values():
                    other.send(stop=True)
        return status

    def _lost(self, stage: str, number: int) -> RunError:
        return RunError(
            f"{stage}: {self._name(number)} was lost. Finished stages are kept. To resume, start "
            f"every machine again; here: {self.command}",
            code="RK614",
        )

    def _name(self, number: int) -> str:
        return f"machine {number} ({self._hosts[number]})"

    # The end
    # ---------------------------------------------------------------------------------------------

    def finish(
        self, run: Path, failed: str | None, ran: Sequence[str] = (), cached: Sequence[str] = ()
    ) -> None:
        """Report the end of the run to the other machines.

        Args:
            run: The run's folder.
            failed: Why it failed, in a line; None if it did not.
            ran: The stages that were executed.
            cached: The stages that were taken from the cache.
        """
        end: dict[str, Any] = {"run": str(run), "ran": list(ran), "cached": list(cached)}
        for other in self._others.values():
            other.send(**({"failed": failed} if failed else {"finished": end}))

    def close(self) -> None:
        """Close the connections."""
        for other in self._others.values():
            other.close()
