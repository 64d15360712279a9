"""The train stage as a run calls it: what it learns, what it writes, and that a killed run ends as
one that was not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from train_inputs import EXACT, INFONCE, train_inputs, train_section

from recipekit.component import Ranks
from recipekit.errors import RunError
from recipekit.stages.train.train import train
from recipekit.testing import RecordingProgress


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(out.rglob("encoder/**/*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def largest_difference(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert first
    return max(float((first[name] - second[name]).abs().max()) for name in first)


class KilledAfter(RecordingProgress):
    """Ends the process, as far as a test can, when a piece of work has advanced so many times."""

    def __init__(self, name: str, advances: int) -> None:
        super().__init__()
        self.name, self.left = name, advances

    def track(self, name, total=None, unit=""):
        return _Countdown(self, name == self.name)


class _Countdown:
    def __init__(self, progress: KilledAfter, counts: bool) -> None:
        self.progress, self.counts = progress, counts

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        return None

    def advance(self, n=1, **figures):
        if self.counts:
            self.progress.left -= n
            if self.progress.left <= 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize("loss", [EXACT, INFONCE], ids=["exact", "infonce"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_loss_falls_and_the_best_weights_are_saved(
    tmp_path, tiny_model, tiny_dataset, loss, tied
):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, tied=tied)
    summary = train(inputs, train_section(loss, query_epochs=6), tmp_path / "out")
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (summary["steps"], summary["epochs"], summary["queries"], summary["positives"]) == (
        18,
        6,
        12,
        12,
    )
    assert told["curve"][-1]["loss"] < told["curve"][0]["loss"] / 2
    dev = {point["step"]: point["value"] for point in told["dev"]["points"]}
    assert list(dev) == [0, 3, 6, 9, 12, 15, 18]
    assert summary["dev"]["untrained"] == dev[0]
    best = max(dev.values())
    assert summary["dev"]["best_step"] == min(step for step, value in dev.items() if value == best)
    vectors = SentenceTransformer(str(tmp_path / "out" / "encoder"), device="cpu").encode_query(
        ["river mountain"]
    )
    assert np.isfinite(vectors).all()


def test_the_summary_says_that_the_exact_loss_reads_the_corpus(tmp_path, tiny_model, tiny_dataset):
    exact = train(
        train_inputs(tmp_path, tiny_model, tiny_dataset),
        train_section(EXACT, query_epochs=1),
        tmp_path / "exact",
    )
    infonce = train(
        train_inputs(tmp_path, tiny_model, tiny_dataset),
        train_section(INFONCE, query_epochs=1),
        tmp_path / "infonce",
    )
    assert "unlabelled text" in exact["notes"][0]
    assert infonce["notes"] == []


@pytest.mark.parametrize(
    ("loss", "work", "advances", "resumes"),
    [
        (EXACT, "train", 2, False),  # before the first checkpoint
        (
            EXACT,
            "train",
            8,
            True,
        ),  # three steps an epoch, two epochs a cycle: goes back to the start of the second cycle
        (
            EXACT,
            "train",
            9,
            True,
        ),  # in the midst of the second cycle, whose matrix the encoder could not make again
        (
            EXACT,
            "encode passage",
            20,
            True,
        ),  # of 36 passages: while the second cycle's matrix is encoded
        (INFONCE, "train", 2, False),
        (INFONCE, "train", 8, True),
    ],
)
@pytest.mark.parametrize("dropout", [False, True], ids=["", "dropout"])
def test_a_killed_run_ends_in_the_weights_of_one_that_was_not(
    tmp_path, tiny_model, tiny_dataset, loss, work, advances, resumes, dropout
):
    section = train_section(loss, query_epochs=2, cycles=2, dropout=dropout)
    train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "whole")
    killed = KilledAfter(work, advances)
    with pytest.raises(KeyboardInterrupt):
        train(
            train_inputs(tmp_path, tiny_model, tiny_dataset, progress=killed),
            section,
            tmp_path / "killed",
        )
    progress = RecordingProgress()
    train(
        train_inputs(tmp_path, tiny_model, tiny_dataset, progress=progress),
        section,
        tmp_path / "killed",
    )
    assert largest_difference(tmp_path / "whole", tmp_path / "killed") == 0
    one, other = (
        json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "killed")
    )
    assert one["curve"] == other["curve"]
    assert one["dev"] == other["dev"]
    assert any(event["event"] == "resume" for event in progress.events) == resumes


def test_weights_are_kept_from_the_best_evaluation_not_the_last(tmp_path, tiny_model, tiny_dataset):
    section = train_section(
        query_epochs=4, learning_rate=0.5, max_grad_norm=None
    )  # so high that it ruins the encoder
    summary = train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert summary["dev"]["best_step"] < summary["steps"]
    again = train(
        train_inputs(tmp_path, tmp_path / "out" / "encoder", tiny_dataset),
        section,
        tmp_path / "again",
    )
    assert again["dev"]["untrained"] == summary["dev"]["best"]


@pytest.mark.parametrize("loss", [EXACT, INFONCE], ids=["exact", "infonce"])
def test_three_queries_one_passage_and_a_batch_larger_than_both(
    tmp_path, tiny_model, make_dataset, loss
):
    queries = [(f"q{i}", text, "train") for i, text in enumerate(["river", "mountain", "valley"])]
    dataset = make_dataset(
        queries, [("p0", "river mountain valley")], {(i, 0): 1.0 for i in range(3)}
    )
    inputs = train_inputs(tmp_path, tiny_model, dataset)
    summary = train(inputs, train_section(loss, batch_size=64, query_epochs=1), tmp_path / "out")
    assert (summary["steps"], summary["queries"], summary["dev"]) == (1, 3, None)
    assert "dev split" in inputs.progress.warnings[0]


def test_evaluations_stand_where_epochs_are_shared_out(tmp_path, tiny_model, tiny_dataset):
    section = train_section(query_epochs=2, eval_every_epochs=0.5, batch_size=3)
    train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert [point["step"] for point in told["dev"]["points"]] == [0, 2, 4, 6, 8]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, tiny_model, tiny_dataset):
    section = train_section(
        query_epochs=3,
        learning_rate=1e30,
        max_grad_norm=None,
        warmup_ratio=0.0,
        eval_every_epochs=None,
    )
    with pytest.raises(
        RunError,
        match=r"broke down at step 1: loss nan.*learning rate 8.89e\+29.*train.learning_rate",
    ) as error:
        train(train_inputs(tmp_path, tiny_model, tiny_dataset), section, tmp_path / "out")
    assert error.value.code == "RK632"


def test_more_ranks_than_there_are_is_an_error(tmp_path, tiny_model, tiny_dataset):
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, ranks=Ranks(rank=0, count=2))
    with pytest.raises(RunError, match="2 ranks were asked for, and 1 are there"):
        train(inputs, train_section(), tmp_path / "out")
