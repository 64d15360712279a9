"""`plan` and `cache ls` state what interrupted stages keep for the next attempt."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from recipekit.artifacts.store import Store
from recipekit.cli.main import invoke
from recipekit.component import Account, SingleProcess, Spending, Verdicts
from recipekit.judging.verdict_log import VerdictLog
from recipekit.llm.budget import Budget
from recipekit.llm.reply_cache import ReplyCache
from recipekit.pipeline.ledger import Spent, ledger_of, spent_by
from recipekit.pipeline.plan import Plan
from recipekit.stages.judge.stage import JUDGE
from recipekit.stages.train.stage import TRAIN
from recipekit.training.checkpoint import Checkpoint, save_checkpoint, start_checkpoint
from recipekit.training.state import TrainingState


def write_verdicts(partial: Path, judge: str, count: int, *, complete: bool = False) -> None:
    rows = np.arange(count, dtype=np.int32)
    with VerdictLog(partial / "scratch" / "verdicts" / judge) as log:
        log.append(Verdicts(query=rows, passage=rows, verdict=np.ones(count, np.int8)))
    if complete:
        log.finish({})


def test_a_judge_stage_keeps_the_verdicts_of_every_judge(tmp_path: Path) -> None:
    write_verdicts(tmp_path, "first", 1200, complete=True)
    write_verdicts(tmp_path, "second", 1)
    write_verdicts(tmp_path, "third", 0)
    assert JUDGE.unfinished is not None
    assert list(JUDGE.unfinished(tmp_path)) == [
        "1,200 verdicts of judge first (complete)",
        "1 verdict of judge second",
    ]


def test_a_train_stage_keeps_its_last_complete_checkpoint(tmp_path: Path) -> None:
    assert TRAIN.unfinished is not None
    assert not list(TRAIN.unfinished(tmp_path))
    folder = tmp_path / "scratch" / "checkpoints"
    weights, optimizer = {"weight": torch.zeros(1)}, {"average": torch.zeros(1)}
    for step in (1000, 2000):
        start_checkpoint(folder, step, is_main=True)
        state = asdict(TrainingState(step=step, steps=5000))
        checkpoint = Checkpoint(weights, None, optimizer, state)
        save_checkpoint(folder, step, checkpoint, SingleProcess())
    start_checkpoint(folder, 3000, is_main=True)  # not complete
    assert list(TRAIN.unfinished(tmp_path)) == ["a checkpoint at step 2,000 of 5,000"]


def test_a_plan_states_verdicts_and_paid_replies_and_writes_nothing(
    planned: Callable[..., Plan], tmp_path: Path
) -> None:
    before = planned()
    assert before["judge"].kept == ()
    store = Store(tmp_path / "cache")
    write_verdicts(store.partial("judge", str(before["judge"].key)), "model", 30)
    with ReplyCache(store.calls) as replies:
        budget = Budget(replies, Spending((Account(ledger_of(before)),)))
        budget.charge(250_000_000_000, calls=7)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert planned()["judge"].kept == (
        "30 verdicts of judge model",
        "the replies of 7 paid calls ($0.25)",
    )
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files


def test_spending_is_read_while_another_process_has_the_file_open(tmp_path: Path) -> None:
    file = tmp_path / "calls.sqlite"
    assert spent_by("account", file) == Spent(0, 0.0)
    with ReplyCache(file) as replies:
        Budget(replies, Spending((Account("account"),))).charge(1_000_000_000_000, calls=2)
        assert spent_by("account", file) == Spent(2, 1.0)
        assert spent_by("another", file) == Spent(0, 0.0)
    assert spent_by("account", file) == Spent(2, 1.0)
    file.write_text("damaged")
    assert spent_by("account", file) == Spent(0, 0.0)


def test_the_cache_lists_unfinished_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "cache")
    write_verdicts(store.partial("judge", "a" * 64), "model", 30)
    store.partial("mine", "b" * 64).mkdir(parents=True)
    places = ["--cache", str(store.root), "--runs", str(tmp_path / "runs")]
    assert invoke(["cache", "ls", *places]) == 0
    out = capsys.readouterr().out
    assert "unfinished" in next(line for line in out.splitlines() if "bbbbbbbb" in line)
    assert "judge aaaaaaaa continues with 30 verdicts of judge model." in out
    assert invoke(["cache", "ls", *places, "--json"]) == 0
    judge, mine = json.loads(capsys.readouterr().out)["artifacts"]
    assert (judge["state"], judge["kept"]) == ("unfinished", ["30 verdicts of judge model"])
    assert mine["kept"] == []
