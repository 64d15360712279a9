"""Ranks without processes, and processes that form a group of CPU ranks."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from accelerate import PartialState

from recipekit.component import SingleProcess
from recipekit.pipeline.fork_server import SLOW_IMPORTS
from recipekit.training.parallel import DataParallel


@dataclass(frozen=True)
class FakeRanks(SingleProcess):
    """One rank of several in this process: its collectives see this rank alone."""

    pass_divisor: int = 1
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


def start_ranks(function: Callable[..., None], count: int, *arguments: object) -> None:
    """Call a function with each rank's number and the arguments, in processes that end with it.

    They are forks of one process, which imports torch once for all tests.

    Raises:
        ProcessRaisedException: The function raised; the message has the traceback.
    """
    multiprocessing.set_forkserver_preload(["helpers.ranks", *SLOW_IMPORTS])
    mp.start_processes(function, arguments, nprocs=count, start_method="forkserver")


def run_on_cpu_ranks(count: int, module: str, arguments: Sequence[object] = ()) -> None:
    """Run a module of `helpers` as the main program of several CPU ranks."""
    with tempfile.TemporaryDirectory() as folder:
        start_ranks(_run_module, count, count, folder, module, [str(each) for each in arguments])


def _run_module(rank: int, count: int, folder: str, module: str, arguments: list[str]) -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    join_cpu_group(rank, count, Path(folder))
    sys.argv = [module, *arguments]
    runpy.run_module(f"helpers.{module}", run_name="__main__")
