"""Ranks without processes, and processes that form a group of CPU ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from recipekit.component import SingleProcess
from recipekit.training.parallel import DataParallel


@dataclass(frozen=True)
class FakeRanks(SingleProcess):
    """One rank of several in this process: its collectives see this rank alone."""

    wait: Callable[[], object] = lambda: None

    def barrier(self) -> None:
        self.wait()


@dataclass(frozen=True)
class ThreadRanks(FakeRanks):
    """One rank of several that run as threads and share a barrier and what the main rank sends."""

    sent: list[Any] = field(default_factory=list)

    def broadcast(self, value: Any) -> Any:
        if self.is_main:
            self.sent.append(value)
        self.wait()
        received = self.sent[-1]
        self.wait()
        return received


def join_cpu_group(rank: int, count: int, folder: Path) -> DataParallel:
    """Join a gloo group of processes on this machine that meet in a folder."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # required, not used
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    return DataParallel(PartialState(cpu=True))


def run_on_cpu_ranks(count: int, module: str, arguments: Sequence[object] = ()) -> None:
    """Run a module of `helpers` on several CPU ranks; fail with its output if a rank fails."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={count}", "--module", f"helpers.{module}"]
    command = [*launcher, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
