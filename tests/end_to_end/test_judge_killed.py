"""Judging that is killed at random moments judges every pair once and pays for no reply twice.

The judge stage is killed three times by default. To kill it more often and print the counts:

    RECIPEKIT_TEST_KILLS=20 pytest -s tests/end_to_end/test_judge_killed.py
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from helpers.in_process import stages_in_process
from helpers.judged_over_http import (
    DELAY,
    RUN,
    KillingPolicy,
    end,
    judgments,
    prompt,
    run_here,
    start,
    summary,
    write_recipe,
)
from recipekit.cli.main import invoke
from recipekit.llm.reply_cache import ReplyCache
from servers.fenced_oracle import pairs_of
from servers.openai_server import Ledger, serving

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("RECIPEKIT_TEST_KILLS", "3"))
QUERIES = 40 * max(1, KILLS // 4)
CONCURRENCY = 8


def kept(folder: Path) -> set[str]:
    """The prompts whose replies are in the cache."""
    with ReplyCache(folder / ".recipekit" / "calls.sqlite") as store:
        return {
            prompt([dict(message) for message in call.request.messages]) for call in store.calls()
        }


def moments(calls: int, seed: int) -> list[tuple[int, float]]:
    """For each attempt, the call after which it is killed, and the delay in seconds.

    The moments are random, and all come before the last call.
    """
    draw = random.Random(seed)
    numbers = sorted(draw.sample(range(1, calls * 3 // 4), KILLS))
    return [
        (after - before, draw.uniform(0, 3 * DELAY))
        for before, after in zip([0, *numbers], numbers, strict=False)
    ]


def test_judging_that_is_killed_at_random_moments_keeps_every_paid_reply(
    tmp_path: Path, words: list[str], monkeypatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    oracle = write_recipe(whole, words, QUERIES)
    monkeypatch.chdir(whole)
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("JUDGE_KEY", "key-of-the-test")
    with stages_in_process():
        assert invoke([*RUN[:2], "--until", "mine", "--cpu"]) == 0
    shutil.copytree(whole, killed, symlinks=True)
    with serving(oracle) as server:
        output = run_here(whole, server.url)
        calls = server.ledger.billed
    assert summary(whole)["unjudged"] == 0, output

    killer = KillingPolicy(oracle)
    with serving(killer, ledger=Ledger(pairs=pairs_of)) as server:
        before: set[str] = set()
        for moment in moments(calls, seed=13):
            killer.prompts, killer.moment = [], moment
            process = start(killed, server.url)
            killer.group = process.pid
            output = end(process)
            assert process.returncode == -signal.SIGKILL, output
            while server.connections:  # what was sent before the kill is still to come
                time.sleep(DELAY)
            after = kept(killed)
            assert before.isdisjoint(killer.prompts), "a kept reply is not requested again"
            assert len(set(killer.prompts) - after) <= CONCURRENCY, (
                "every reply is kept except those in flight"
            )
            before = after
        killer.prompts, killer.moment = [], None
        output = run_here(killed, server.url)
        assert before.isdisjoint(killer.prompts)
        ledger: Mapping = server.ledger.summary()

    judged, counted = judgments(killed), summary(killed)
    assert judged.equals(judgments(whole)), output
    assert judged.group_by(["query", "passage"]).aggregate([]).num_rows == len(judged)
    assert counted["unjudged"] == 0
    assert (
        counted["judges"]["model"]["counts"]["pairs"]
        == summary(whole)["judges"]["model"]["counts"]["pairs"]
    )
    again = ledger["billed"] - calls
    assert again == sum(times - 1 for times in server.ledger.paid.values()) <= KILLS * CONCURRENCY
    assert counted["spent"]["usd"] >= ledger["usd"], "what may have been paid is counted"
    print(
        f"\n{KILLS} kills, {len(judged):,} verdicts; {calls} calls are enough, "
        f"{ledger['billed']} were billed, {again} of them again"
    )
    print(
        f"booked: {counted['spent']['calls']} calls, ${counted['spent']['usd']:.4f}; "
        f"the server billed ${ledger['usd']:.4f}"
    )
