"""Ranks that run out of memory start again with smaller forward passes, a few times."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pytest

from recipekit.errors import RanksOutOfMemory, RecipekitError, RunError
from recipekit.pipeline.job import Job, StageResult, read_error, write_error
from recipekit.pipeline.launch import Launch
from recipekit.pipeline.restarts import MOST_RESTARTS, Restart
from recipekit.pipeline.stage_process import StageProcesses
from recipekit.stages import stage_named

REMEDY = "set train.max_tokens_per_batch: 8 or less"


class RunsOutOfMemory(StageProcesses):
    """Runs a stage that fits into memory after a number of restarts."""

    def __init__(self, restarts: int, error: RecipekitError) -> None:
        super().__init__(Launch(ranks=2, cpu=True))
        self.restarts, self.error, self.divisors = restarts, error, list[int]()

    def _run(self, job: Job, job_file: Path, lock: IO[str], *, computes: bool) -> int:
        self.divisors.append(Job.read(job_file).pass_divisor)
        assert not job.error_file.exists(), "the error of the attempt before is gone"
        if job.restarts < self.restarts:
            write_error(job.error_file, self.error)
            return 65
        result = StageResult({"steps": 3}, [], 0)
        (Path(job.run) / "train.result.json").write_text(json.dumps(asdict(result)))
        return 0


def run(processes: StageProcesses, folder: Path) -> tuple[StageResult, list[int]]:
    """Run a train stage; return its result and the restarts that were reported."""
    restarts: list[int] = []
    job = Job("train", "k", *[str(folder)] * 3, {}, 2, "recipekit run r.yaml")
    with open(os.devnull) as lock:
        result = processes.run(
            job, lock, computes=True, restarting=lambda error, number: restarts.append(number)
        )
    return result, restarts


def test_passes_are_halved_until_they_fit(tmp_path: Path) -> None:
    processes = RunsOutOfMemory(3, RanksOutOfMemory("out of memory on rank 1", remedy=REMEDY))
    result, restarts = run(processes, tmp_path)
    assert result.summary == {"steps": 3}
    assert processes.divisors == [1, 2, 4, 8]
    assert restarts == [1, 2, 3]
    assert list(tmp_path.iterdir()) == []


def test_after_the_last_restart_one_line_says_what_needs_less_memory(tmp_path: Path) -> None:
    processes = RunsOutOfMemory(9, RanksOutOfMemory("out of memory on rank 1", remedy=REMEDY))
    with pytest.raises(RanksOutOfMemory) as raised:
        run(processes, tmp_path)
    assert processes.divisors == [1, 2, 4, 8, 16]
    assert raised.value.code == "RK634"
    assert raised.value.message == (
        f"train: out of memory on rank 1, also after 4 restarts with smaller passes: {REMEDY}\n"
        "To resume: recipekit run r.yaml"
    )


def test_another_lack_of_memory_does_not_start_ranks_again(tmp_path: Path) -> None:
    processes = RunsOutOfMemory(1, RunError("out of memory: AdamW does not fit", code="RK634"))
    with pytest.raises(RunError, match="train: out of memory: AdamW does not fit"):
        run(processes, tmp_path)
    assert processes.divisors == [1]


def test_the_remedy_survives_a_file_and_another_message(tmp_path: Path) -> None:
    write_error(tmp_path / "error.json", RanksOutOfMemory("out of memory", remedy=REMEDY))
    error = read_error(tmp_path / "error.json")
    assert error is not None
    located = error.with_message("train: out of memory")
    assert isinstance(located, RanksOutOfMemory)
    assert (str(located), located.code) == (f"train: out of memory: {REMEDY}", "RK634")


def test_a_restart_states_what_is_repeated(tmp_path: Path) -> None:
    error = RanksOutOfMemory("out of memory on rank 1", remedy=REMEDY)
    restart = Restart.of(stage_named("train"), tmp_path, error, 2)
    assert restart.kept is None
    assert restart.message == (
        "out of memory on rank 1: all ranks start again from the beginning of train, with forward "
        f"passes of half the size and the same result (restart 2 of {MOST_RESTARTS}). To avoid "
        f"this, {REMEDY}"
    )
    checkpoint = tmp_path / "scratch" / "checkpoints" / "checkpoint-00000120"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text('{"step": 120, "steps": 600}')
    restart = Restart.of(stage_named("train"), tmp_path, error, 2)
    assert "start again from a checkpoint at step 120 of 600, with" in restart.message
    assert restart.fields["kept"] == "a checkpoint at step 120 of 600"
