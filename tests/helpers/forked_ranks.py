"""Runs on several ranks whose processes are forks of one, and what goes wrong in them.

A launcher and its ranks would each import torch, which takes longer than what they train here.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from helpers import in_process
from helpers.ranks import join_cpu_group, start_ranks
from recipekit.pipeline import rank_launcher, worker
from recipekit.pipeline.job import Job
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.training.parallel import Sharding

__all__ = ["forked_ranks", "kill_at_step", "kill_in_checkpoint", "lack_memory"]

Fault = Callable[[int], None]
"""Called in each rank's process with its number before it works."""


@contextmanager
def forked_ranks(
    fault: Fault | None = None, sharding: Sharding | None = None
) -> Iterator[list[Job]]:
    """Fork the ranks of runs that `call_in_process` makes; yield the jobs that they get.

    Args:
        fault: What goes wrong. It must be picklable.
        sharding: How the ranks shard weights. Accelerate's configuration cannot ask for it on CPUs.
    """
    jobs: list[Job] = []

    def run(
        self: StageProcesses, job: Job, job_file: Path, lock: IO[str], *, computes: bool
    ) -> int:
        if not computes:
            return worker.main(str(job_file))
        job = replace(job, sharding=sharding)
        job.write(job_file)
        jobs.append(job)
        with tempfile.TemporaryDirectory() as meeting:
            try:
                environment = self.launch.environment()
                start_ranks(_run_rank, job.ranks, job, meeting, environment, str(job_file), fault)
            except ProcessExitedException as error:
                rank_launcher._report(job, error.error_index, error.exit_code)
                return error.exit_code
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_process, "in_processes", run)
        yield jobs


def _run_rank(
    rank: int,
    job: Job,
    meeting: str,
    environment: dict[str, str],
    job_file: str,
    fault: Fault | None,
) -> None:
    os.environ |= environment
    torch.set_num_threads(1)
    join_cpu_group(rank, job.ranks, Path(meeting))
    if fault is not None:
        fault(rank)
    worker.leave(worker.main(job_file))


# Faults
# -------------------------------------------------------------------------------------------------


def kill_at_step(step: int, victim: int) -> Fault:
    """Let one rank be killed before a step of training."""
    return partial(_kill_at_step, step, victim)


def _kill_at_step(step: int, victim: int, rank: int) -> None:
    from recipekit.training.loop import _PhaseRun

    train_step = _PhaseRun.train_step

    def killed(self: _PhaseRun) -> Any:
        if self.loop.state.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_step(self)

    if rank == victim:
        _PhaseRun.train_step = killed  # type: ignore[method-assign]


def kill_in_checkpoint(number: int, victim: int) -> Fault:
    """Let one rank be killed while a checkpoint is written, before its state; they count from 1."""
    return partial(_kill_in_checkpoint, number, victim)


def _kill_in_checkpoint(number: int, victim: int, rank: int) -> None:
    from recipekit.training import checkpoint

    save_tensors, numbers = checkpoint._save_tensors, count(1)

    def killed(*arguments: Any) -> None:
        save_tensors(*arguments)
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    if rank == victim:
        checkpoint._save_tensors = killed


def lack_memory(fits: int, from_step: int, victim: int) -> Fault:
    """Let one rank run out of memory in forward passes over more padded tokens than fit.

    Before a step of training, it has enough.
    """
    return partial(_lack_memory, fits, from_step, victim)


def _lack_memory(fits: int, from_step: int, victim: int, rank: int) -> None:
    from recipekit.encoders.bi_encoder_module import BiEncoder
    from recipekit.training.loop import _PhaseRun

    train_step, forward, steps = _PhaseRun.train_step, BiEncoder.forward, []

    def stepped(self: _PhaseRun) -> Any:
        steps.append(self.loop.state.step)
        return train_step(self)

    def limited(self: BiEncoder, features: Any, *arguments: Any) -> Any:
        if features["input_ids"].numel() > fits and steps[-1:] >= [from_step]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, features, *arguments)

    if rank == victim:
        _PhaseRun.train_step = stepped  # type: ignore[method-assign]
        BiEncoder.forward = limited  # type: ignore[method-assign]
