"""Two machines with one shared folder: two runners on this machine, each with a rank of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.in_process import call_in_process
from helpers.small_run import RECIPE as SMALL_RUN
from helpers.small_run import metrics, write_recipe

pytestmark = pytest.mark.slow

RECIPE = """\
recipe: 1
name: tiny
seed: 13
encoders:
  student: {{use: bi_encoder, model: {model}, max_length: 32, precision: fp32}}
collect:
  sources:
    own: {{use: pairs, file: pairs.jsonl}}
  split: {{dev: 0.2, test: 0.3}}
train:
  phases:
    first: {{use: in_batch, loss: {{use: infonce, temperature: 0.05}}, num_hard_negatives: 0}}
    second:
      use: coordinate_ascent
      loss: {{use: exact_softmax, temperature: 0.05}}
      query_epochs: 1
      passage_epochs: 1
  batch_size: 8
  learning_rate: 1.0e-3
  precision: fp32
  keep_weights: last
"""
MINED = SMALL_RUN[SMALL_RUN.index("mine:") : SMALL_RUN.index("train:")]
PHASES = "train:\n  phases:\n"
WHOLE_RUN = RECIPE.replace(
    PHASES, f"{MINED}{PHASES}    texts: {{{{use: masked_language_model}}}}\n"
)
WHOLE_RUN += SMALL_RUN[SMALL_RUN.index("evaluate:") :]
"""Every stage, and every kind of phase."""
CONFIGURATION = """\
distributed_type: FSDP
fsdp_config: {{fsdp_version: 2}}
use_cpu: true
num_processes: 2
num_machines: 2
machine_rank: {number}
main_process_ip: 127.0.0.1
main_process_port: {port}
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, words: list[str]) -> Path:
    """A recipe that only trains, and a configuration of Accelerate for each machine."""
    write_recipe(tmp_path, tiny_model, words)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tiny_model))
    port = free_port()
    for number in range(2):
        configuration = CONFIGURATION.format(number=number, port=port)
        (tmp_path / f"machine-{number}.yaml").write_text(configuration)
    return tmp_path


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def start(folder: Path, number: int) -> subprocess.Popen[str]:
    """Start the run on one machine."""
    command = [sys.executable, "-m", "recipekit", "run", "recipe.yaml"]
    return subprocess.Popen(
        [*command, "--accelerate-config", f"machine-{number}.yaml"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_processes(machine: subprocess.Popen[str]) -> None:
    """Kill a machine's runner and all processes below it, as a power cut does."""
    machine.send_signal(signal.SIGSTOP)  # it cannot report the death of a process below it
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    killed = [machine.pid]
    for process in killed:
        killed += [child for child, parent in parents.items() if parent == process]
    for process in reversed(killed):
        os.kill(process, signal.SIGKILL)


def in_training(machine: subprocess.Popen[str], steps: int) -> None:
    """Return when the encoder is evaluated after a number of steps."""
    assert machine.stderr is not None
    for line in machine.stderr:
        if f"after {steps} of" in line:
            return
    raise AssertionError(f"it ended before step {steps}")


def start_by_torchrun(folder: Path, port: int) -> subprocess.Popen[str]:
    """Start the run on one machine by torchrun, which numbers the machines."""
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    torchrun += ["--nnodes", "2", "--nproc-per-node", "1", "--local-addr", "127.0.0.1"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--no-python"]
    command = [sys.executable, "-m", "recipekit", "run", "recipe.yaml"]
    return subprocess.Popen(
        [*torchrun, *command, "--accelerate-config", "cpu.yaml"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    encoder = folder / "runs/tiny/latest/stages/train/encoder/model.safetensors"
    return load_file(encoder)


def assert_trained_as_by_one_process(folder: Path, alone: Path) -> None:
    """Run a folder's recipe in one process, in another folder with its data, and compare."""
    shutil.copy(folder / "recipe.yaml", alone)
    call_in_process(alone, "run", "recipe.yaml", "--cpu")
    trained = weights(folder)
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(trained[name], tensor, atol=2e-5, rtol=0)


def test_a_run_on_two_machines_survives_the_death_of_each_and_trains_as_one_process(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]
) -> None:
    machines = [start(folder, number) for number in range(2)]
    in_training(machines[0], 0)
    machines[1].send_signal(signal.SIGKILL)
    rest = machines[0].communicate(timeout=300)[1]
    machines[1].communicate()
    assert machines[0].returncode == 1, rest
    *lines, error = rest.splitlines()
    assert not [line for line in lines if "Error" in line or "Traceback" in line], rest
    assert "train: machine 1 (" in error
    assert "was lost. Finished stages are kept. To resume, start every machine again" in error
    assert error.endswith(
        "here: recipekit run recipe.yaml --accelerate-config machine-0.yaml [RK614]"
    )

    machines = [start(folder, number) for number in range(2)]
    in_training(machines[0], 5)
    kill_processes(machines[0])
    rest = machines[1].communicate(timeout=60)[1]
    machines[0].communicate()
    assert machines[1].returncode == 1, rest
    assert rest.splitlines()[-1].endswith(
        "machine 0 (127.0.0.1) was lost. Finished stages are kept. To resume, start every "
        "machine again; here: recipekit run recipe.yaml --accelerate-config machine-1.yaml [RK614]"
    )
    assert "Traceback" not in rest

    machines = [start(folder, number) for number in range(2)]
    outputs = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert "collect: cached" in outputs[0]
    assert "machine 1: train: running" in outputs[1]

    alone = tmp_path_factory.mktemp("alone")
    write_recipe(alone, tiny_model, words)
    assert_trained_as_by_one_process(folder, alone)


def test_torchrun_starts_every_stage_on_two_machines_and_the_results_are_those_of_one_process(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]
) -> None:
    (folder / "recipe.yaml").write_text(WHOLE_RUN.format(model=tiny_model))
    (folder / "cpu.yaml").write_text("distributed_type: MULTI_CPU\nuse_cpu: true\n")
    port = free_port()
    machines = [start_by_torchrun(folder, port) for _ in range(2)]
    outputs = [machine.communicate(timeout=300)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert any("machine 1: mine: running" in output for output in outputs), outputs

    alone = tmp_path_factory.mktemp("alone")
    write_recipe(alone, tiny_model, words)
    assert_trained_as_by_one_process(folder, alone)
    assert metrics(folder) == metrics(alone)
