"""Which machines run together, and how they find, follow and lose one another."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recipekit.errors import RunError
from recipekit.pipeline import crew as crew_module
from recipekit.pipeline import follow as follow_module
from recipekit.pipeline import processes as processes_module
from recipekit.pipeline.accelerate_file import AccelerateFile
from recipekit.pipeline.connection import MachineConnection
from recipekit.pipeline.crew import Crew
from recipekit.pipeline.follow import follow
from recipekit.pipeline.job import Job
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.machines import Machines, read_machines
from recipekit.pipeline.processes import process_within
from recipekit.pipeline.run_result import Run
from recipekit.pipeline.stage_process import StageProcesses

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "GROUP_WORLD_SIZE": "3",
    "GROUP_RANK": "2",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_NODEID": "1",
}


def test_accelerates_configuration_names_the_machines() -> None:
    settings = {"num_machines": 2, "machine_rank": 1, "main_process_ip": "10.0.0.1"}
    assert read_machines(AccelerateFile("a.yaml", settings)) == Machines(2, 1, "10.0.0.1", 29500)
    stated = {**settings, "main_process_port": 5000}
    assert read_machines(AccelerateFile("a.yaml", stated)) == Machines(2, 1, "10.0.0.1", 5000)
    assert read_machines(AccelerateFile("a.yaml", {"num_machines": 1})) is None


def test_torchrun_and_slurm_number_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as environment:
        for name, value in TORCHRUN.items():
            environment.setenv(name, value)
        assert read_machines(AccelerateFile("a.yaml", {})) == Machines(3, 2, "node0", 29501)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert read_machines(AccelerateFile("a.yaml", {})) == Machines(2, 1, "gpu03", 29500 + 711)
    # The configuration's address and port count; its number is that of the shared home folder.
    settings = {"num_machines": 2, "machine_rank": 0, "main_process_ip": "ib0-gpu03"}
    assert read_machines(
        AccelerateFile("a.yaml", {**settings, "main_process_port": 7})
    ) == Machines(2, 1, "ib0-gpu03", 7)


def test_slurm_names_machine_0_in_its_short_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SLURM, "SLURM_STEP_NODELIST": "rack[0-1]node[0-3]-ib"}.items():
        monkeypatch.setenv(name, value)
    machines = read_machines(AccelerateFile("a.yaml", {}))
    assert machines is not None
    assert machines.address == "rack0node0-ib"


def test_a_stated_address_needs_no_list_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SLURM, "SLURM_STEP_NODELIST": "bgp[000x133]"}.items():
        monkeypatch.setenv(name, value)
    machines = read_machines(AccelerateFile("a.yaml", {"main_process_ip": "10.0.0.1"}))
    assert machines is not None
    assert machines.address == "10.0.0.1"


@pytest.mark.parametrize(
    ("environment", "settings", "message"),
    [
        ({}, {"num_machines": 2}, "main_process_ip is missing"),
        (
            {},
            {"num_machines": 2, "machine_rank": 2, "main_process_ip": "a"},
            "machine_rank is 2, but the 2 machines are numbered from 0",
        ),
        (SLURM, {"num_machines": 3}, "num_machines is 3, but the scheduler started 2 machines"),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "8"},
            {},
            "started 4 processes per machine: start one with `srun --ntasks-per-node 1`",
        ),
        (
            {**SLURM, "SLURM_STEP_NODELIST": "gpu[03-"},
            {},
            r"SLURM_STEP_NODELIST: 'gpu\[03-' is not a list of nodes",
        ),
        (
            {**TORCHRUN, "LOCAL_WORLD_SIZE": "8"},
            {},
            "started 8 processes per machine: start one with `torchrun --nproc-per-node 1`",
        ),
    ],
)
def test_machines_that_do_not_fit_together_are_refused(
    environment: dict[str, str],
    settings: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=message):
        read_machines(AccelerateFile("a.yaml", settings))


# Two machines in this process
# -------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


class RunsCode(Launch):
    """Starts a process that runs the Python code in the job's file."""

    def command(self, job: Path, *, ranks: bool, port: int | None = None) -> list[str]:
        return [sys.executable, str(job)]


@dataclass
class OtherMachine:
    """Machine 1, in a thread."""

    machines: Machines
    launches: type[Launch] = RunsCode
    result: Run | None = None
    error: RunError | None = None
    lines: list[str] = field(default_factory=list)

    def start(self) -> OtherMachine:
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()
        return self

    def _follow(self) -> None:
        launch = self.launches(ranks=2, cpu=True, machines=self.machines)
        try:
            self.result = follow(
                launch, "recipekit run b.yaml", lambda event: self.lines.append(event.line)
            )
        except RunError as error:
            self.error = error

    def ended(self) -> OtherMachine:
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()
        return self


@pytest.fixture
def gathered(tmp_path: Path) -> Callable[[], tuple[Crew, OtherMachine]]:
    """Two machines that have found one another."""

    def gather() -> tuple[Crew, OtherMachine]:
        port = free_port()
        other = OtherMachine(Machines(2, 1, "127.0.0.1", port)).start()
        return Crew(Machines(2, 0, "127.0.0.1", port), tmp_path, "recipekit run r.yaml"), other

    return gather


def run_stage(crew: Crew, folder: Path, here: str, there: str) -> int:
    """Run a stage whose processes run the given code."""
    (folder / "here.py").write_text(here)
    (folder / "there.py").write_text(there)
    crew.begin("train", folder / "there.py")
    command = [sys.executable, str(folder / "here.py")]
    with process_within(command, {}) as process:
        return crew.wait("train", process, computes=True)


def test_a_stage_runs_on_both_machines_until_the_run_ends(gathered: Any, tmp_path: Path) -> None:
    crew, other = gathered()
    done = tmp_path / "done"
    assert run_stage(crew, tmp_path, "", f"open({str(done)!r}, 'w')") == 0
    assert done.is_file()
    crew.finish(tmp_path / "runs", None, ["train"], ["mine"])
    assert other.ended().result == Run(tmp_path / "runs", ("train",), ("mine",))
    assert other.lines[1:] == [
        "machine 1: joined machine 0 (127.0.0.1), which runs the stages",
        "machine 1: train: running",
    ]
    assert list((tmp_path / "machines").iterdir()) == [], "the token is removed"
    crew.close()


def test_a_rank_that_fails_on_one_machine_ends_the_stage_on_all(
    gathered: Any, tmp_path: Path
) -> None:
    waits = "import signal\nsignal.pause()"
    crew, other = gathered()
    assert run_stage(crew, tmp_path, waits, "raise SystemExit(65)") == 65
    assert run_stage(crew, tmp_path, "raise SystemExit(66)", waits) == 66
    crew.finish(tmp_path, "failed: out of memory")
    error = other.ended().error
    assert error is not None
    assert error.message == (
        "machine 0 (127.0.0.1) ended the run: failed: out of memory\n"
        "To start this machine again: recipekit run b.yaml"
    )
    crew.close()


class RunsScript(Launch):
    """Starts this machine's Python script, with the job's file as its argument."""

    def command(self, job: Path, *, ranks: bool, port: int | None = None) -> list[str]:
        assert self.machines is not None
        return [sys.executable, str(job.with_name(f"{self.machines.number}.py")), str(job)]


OUT_OF_MEMORY = """\
import json, sys
job = json.load(open(sys.argv[1]))
if job["restarts"] < 2:
    error = {"type": "RanksOutOfMemory", "message": "out of memory on rank 1", "code": "RK634"}
    json.dump(error, open(job["run"] + "/train.error.json", "w"))
    raise SystemExit(65)
"""
WAITS = """\
import json, signal, sys
job = json.load(open(sys.argv[1]))
if job["restarts"] < 2:
    signal.pause()
json.dump({"summary": {}, "by_products": [], "peak_bytes": 0},
          open(job["run"] + "/train.result.json", "w"))
"""


def two_machines(folder: Path) -> tuple[StageProcesses, OtherMachine, Job]:
    """Machine 0's side and machine 1 of a run, and a job for the scripts of both."""
    first, second = (Machines(2, number, "127.0.0.1", free_port()) for number in range(2))
    other = OtherMachine(replace(second, port=first.port), RunsScript).start()
    crew = Crew(first, folder, "recipekit run r.yaml")
    processes = StageProcesses(RunsScript(ranks=2, cpu=True, machines=first), crew)
    job = Job("train", "k", *[str(folder)] * 3, {}, 2, "recipekit run r.yaml", machines=2)
    return processes, other, job


def test_ranks_of_both_machines_start_again_after_one_runs_out_of_memory(tmp_path: Path) -> None:
    (tmp_path / "0.py").write_text(WAITS)
    (tmp_path / "1.py").write_text(OUT_OF_MEMORY)
    processes, other, job = two_machines(tmp_path)
    restarts = list[int]()
    with open(os.devnull) as lock:
        processes.run(
            job, lock, computes=True, restarting=lambda _, number: restarts.append(number)
        )
    assert processes.crew is not None
    processes.crew.finish(tmp_path, None, ["train"])
    assert restarts == [1, 2]
    assert other.ended().result is not None
    assert other.lines[2:] == [
        "machine 1: train: running",
        "machine 1: train: running again with smaller forward passes (restart 1)",
        "machine 1: train: running again with smaller forward passes (restart 2)",
    ]
    processes.close()


IGNORES_SIGTERM = """\
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.mkdir(os.path.dirname(sys.argv[1]) + "/ready")
signal.pause()
"""
AFTER_THE_OTHER = """\
import os, sys, time
while not os.path.exists(os.path.dirname(sys.argv[1]) + "/ready"):
    time.sleep(0.01)
"""


def test_ranks_are_not_started_again_while_others_do_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "SECONDS_TO_STOP", 0.0)
    monkeypatch.setattr(processes_module, "SECONDS_TO_TERMINATE", 0.01)
    (tmp_path / "0.py").write_text(AFTER_THE_OTHER + OUT_OF_MEMORY)
    (tmp_path / "1.py").write_text(IGNORES_SIGTERM)
    processes, other, job = two_machines(tmp_path)
    restarts = list[int]()
    with open(os.devnull) as lock, pytest.raises(RunError, match="train: out of memory on rank 1"):
        processes.run(
            job, lock, computes=True, restarting=lambda error, number: restarts.append(number)
        )
    assert restarts == []
    processes.close()
    assert other.ended().error is not None


def test_a_machine_that_is_lost_ends_the_run_on_the_other_with_the_command_that_resumes_it(
    gathered: Any, tmp_path: Path
) -> None:
    crew, other = gathered()
    crew.close()
    error = other.ended().error
    assert error is not None
    assert error.message == (
        "machine 0 (127.0.0.1) was lost. Finished stages are kept. To resume, start every machine "
        "again; here: recipekit run b.yaml"
    )

    crew, other = gathered()
    crew._others[1].close()  # as if the connection broke
    other.ended()
    message = r"train: machine 1 \(\S+\) was lost.*again; here: recipekit run r.yaml"
    with pytest.raises(RunError, match=message) as lost:
        run_stage(crew, tmp_path, "import signal\nsignal.pause()", "")
    assert lost.value.code == "RK614"
    assert "\n" not in lost.value.message


def test_a_folder_that_is_not_shared_is_refused_on_both_machines(
    gathered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_module, "SECONDS_TO_SEE", 0.0)
    monkeypatch.setattr(Path, "write_text", lambda *_: None)  # the other disk stays empty
    monkeypatch.setattr(Path, "unlink", lambda *_: None)
    started: list[OtherMachine] = []
    start = OtherMachine.start
    monkeypatch.setattr(OtherMachine, "start", lambda self: started.append(self) or start(self))
    with pytest.raises(RunError, match=r"machine 1 \(\S+\) does not see \S+, where machine 0"):
        gathered()
    error = started[0].ended().error
    assert error is not None
    assert "need one shared folder, under the same path" in error.message


def test_a_machine_that_does_not_join_in_time_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "SECONDS_TO_JOIN", 0.0)
    monkeypatch.setattr(follow_module, "SECONDS_TO_JOIN", 0.0)
    with pytest.raises(RunError, match=r"machine 1, 2 did not join within 0 s"):
        Crew(Machines(3, 0, "127.0.0.1", free_port()), tmp_path, "recipekit run")
    alone = OtherMachine(Machines(2, 1, "127.0.0.1", free_port())).start().ended()
    assert alone.error is not None
    assert "machine 0 (127.0.0.1) did not answer at port" in alone.error.message


def test_another_version_and_a_second_machine_of_a_number_are_refused(tmp_path: Path) -> None:
    for hello, message in {
        "version": "has recipekit 0.0, not",
        "count": "expects 4 machines, not 2",
    }.items():
        port = free_port()
        refused: list[RunError] = []

        def lead(port: int = port, refused: list[RunError] = refused) -> None:
            try:
                Crew(Machines(2, 0, "127.0.0.1", port), tmp_path, "recipekit run")
            except RunError as error:
                refused.append(error)

        thread = threading.Thread(target=lead, daemon=True)
        thread.start()
        machines = Machines(4 if hello == "count" else 2, 1, "127.0.0.1", port)
        launch = RunsCode(machines=machines)
        follower = follow_module._Follower(launch, machines, "recipekit run", lambda _: None)
        connection = MachineConnection(follower._connected())
        version = "0.0" if hello == "version" else crew_module.recipekit.__version__
        connection.send(machine=1, count=machines.count, host="b", version=version)
        answer = connection.receive()
        assert answer is not None
        assert message in answer["failed"]
        connection.close()
        thread.join(timeout=60)
        assert message in refused[0].message
