"""Two ranks, of which one is killed or runs out of memory, train as two that nothing interrupts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers.forked_ranks import forked_ranks, kill_at_step, kill_in_checkpoint, lack_memory
from helpers.in_process import call_in_process
from helpers.small_run import write_recipe
from recipekit.training.parallel import Sharding

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
    masked: {{use: masked_language_model, texts: both, epochs: 2}}
    batches: {{use: in_batch, epochs: 2}}
    contrastive:
      use: coordinate_ascent
      loss: {{use: exact_softmax, temperature: 0.05}}
      query_epochs: 2
      passage_epochs: 2
  batch_size: 8
  learning_rate: 1.0e-3
  precision: fp32
  eval_every_epochs: null
  keep_weights: last
  max_tokens_per_batch: 64
"""
"""Its steps: 15 in an epoch of the first phase, 5 of the second, 5 and 10 of the half-phases."""
ON_TWO_RANKS = ("run", "recipe.yaml", "--num-processes", "2", "--cpu")


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, words: list[str]) -> Path:
    """A recipe that trains in three phases."""
    return write(tmp_path, tiny_model, words)


def write(folder: Path, model: Path, words: list[str]) -> Path:
    write_recipe(folder, model, words)
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model))
    return folder


def uninterrupted(
    folder: Path, model: Path, words: list[str], sharding: Sharding | None = None
) -> dict[str, torch.Tensor]:
    """The weights of two ranks that nothing interrupts."""
    with forked_ranks(sharding=sharding):
        call_in_process(write(folder, model, words), *ON_TWO_RANKS)
    return weights(folder)


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]
) -> dict[str, torch.Tensor]:
    """The weights of two ranks, each with all weights, that nothing interrupts."""
    return uninterrupted(tmp_path_factory.mktemp("uninterrupted"), tiny_model, words)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "runs/tiny/latest/stages/train/encoder/model.safetensors")


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the events of a name in the log of the latest run."""
    lines = (folder / "runs/tiny/latest/log.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


KILLED = (
    (kill_at_step(20, victim=1), 15),
    (kill_in_checkpoint(3, victim=0), 35),
    (kill_at_step(47, victim=0), 45),
    (kill_at_step(65, victim=1), 60),
)
"""How one of two ranks is killed, one run after the other, and the step at which the next run
resumes: while masked tokens are predicted, while the checkpoint after an in-batch epoch is written,
and in both half-phases.
"""


def test_a_run_of_which_a_rank_is_killed_resumes_to_the_same_weights(
    folder: Path, expected: dict[str, torch.Tensor]
) -> None:
    kill_and_resume(folder, expected)


def test_a_run_with_sharded_weights_of_which_a_rank_is_killed_resumes_to_the_same_weights(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]
) -> None:
    kept = tmp_path_factory.mktemp("uninterrupted")
    expected = uninterrupted(kept, tiny_model, words, Sharding())
    kill_and_resume(folder, expected, Sharding())


def kill_and_resume(
    folder: Path, expected: dict[str, torch.Tensor], sharding: Sharding | None = None
) -> None:
    """Kill a rank again and again, and compare the weights at the end, bit by bit."""
    for killed, (fault, _) in enumerate(KILLED):
        with forked_ranks(fault, sharding):
            ended = call_in_process(folder, *ON_TWO_RANKS, status=1)
        error = ended.stderr.splitlines()[-1]
        assert error == (
            f"train: rank {fault.args[1]} was killed by SIGKILL (the system kills processes that "
            "use too much memory). Finished stages are kept. To resume: recipekit "
            f"{' '.join(ON_TWO_RANKS)} [RK608]"
        )
        resumed = [event["step"] for event in events(folder, "resume")]
        assert resumed == [step for _, step in KILLED[:killed]][-1:]
    with forked_ranks(sharding=sharding) as jobs:
        call_in_process(folder, *ON_TWO_RANKS)
    assert [job.sharding for job in jobs if job.stage == "train"] == [sharding]
    assert [event["step"] for event in events(folder, "resume")] == [60]
    trained = weights(folder)
    assert trained.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(trained[name], tensor), name


def test_ranks_start_again_with_smaller_passes_after_one_runs_out_of_memory(
    folder: Path, expected: dict[str, torch.Tensor]
) -> None:
    with forked_ranks(lack_memory(fits=16, from_step=20, victim=1)) as jobs:
        ended = call_in_process(folder, *ON_TWO_RANKS)
    assert [job.pass_divisor for job in jobs] == [1, 2, 4]
    (first, second) = [line for line in ended.stderr.splitlines() if "out of memory" in line]
    assert first == (
        "  warning: out of memory on rank 1 at step 21 of 70, with 64 tokens in a forward pass: "
        "all ranks start again from a checkpoint at step 15 of 70, with forward passes of half the "
        "size and the same result (restart 1 of 4). To avoid this, set "
        "train.max_tokens_per_batch: 32 or less, or train.gradient_checkpointing: true"
    )
    assert "with 32 tokens in a forward pass" in second
    assert "(restart 2 of 4)" in second
    run = json.loads((folder / "runs/tiny/latest/run.json").read_text())
    assert run["restarts"][0] == {
        "stage": "train",
        "restart": 1,
        "reason": "out of memory on rank 1 at step 21 of 70, with 64 tokens in a forward pass",
        "kept": "a checkpoint at step 15 of 70",
    }
    assert [event["step"] for event in events(folder, "resume")] == [15, 15]
    trained = weights(folder)
    for name, tensor in expected.items():
        torch.testing.assert_close(trained[name], tensor, atol=2e-4, rtol=1e-3)
