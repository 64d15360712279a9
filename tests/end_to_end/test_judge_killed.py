"""Judging that is killed at random moments: in the end every pair is judged once, and nothing is
paid for again that was kept.

Three moments by default. As many as you like, with what was counted:

    RECIPEKIT_TEST_KILLS=20 pytest -s tests/end_to_end/test_judge_killed.py
"""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from judged_over_http import RUN, end, judgments, start, summary, write_recipe

from recipekit.cli.main import invoke
from recipekit.llm.reply_cache import ReplyCache
from servers.fenced_oracle import pairs_of
from servers.openai_server import Answer, Call, Ledger, Policy, serving

KILLS = int(os.environ.get("RECIPEKIT_TEST_KILLS", "3"))
QUERIES = 40 * max(1, KILLS // 4)
CONCURRENCY = 8
DELAY = 0.02


def prompt(messages: object) -> str:
    return json.dumps(messages, sort_keys=True)


class Deadly:
    """A policy that kills who asks: so many seconds after so many calls of a leg have come."""

    def __init__(self, then: Policy) -> None:
        self.then = then
        self.asked: list[str] = []
        """The prompts of this leg, in order."""
        self.moment: tuple[int, float] | None = None
        self.group = 0

    def __call__(self, call: Call) -> Answer:
        self.asked.append(prompt(call.body["messages"]))
        if self.moment is not None and len(self.asked) == self.moment[0]:
            threading.Timer(self.moment[1], os.killpg, (self.group, signal.SIGKILL)).start()
        return replace(self.then(call), delay=DELAY)


def kept(folder: Path) -> set[str]:
    """The prompts whose replies are kept."""
    with ReplyCache(folder / ".recipekit" / "calls.sqlite") as store:
        return {
            prompt([dict(message) for message in call.request.messages]) for call in store.calls()
        }


def moments(calls: int, seed: int) -> list[tuple[int, float]]:
    """For each leg, the call of its own that it dies by, and how many seconds later: random, and
    all of them before the end.
    """
    draw = random.Random(seed)
    numbers = sorted(draw.sample(range(1, calls * 3 // 4), KILLS))
    return [
        (after - before, draw.uniform(0, 3 * DELAY))
        for before, after in zip([0, *numbers], numbers, strict=False)
    ]


def test_killed_at_random_moments(tmp_path: Path, words: list[str], monkeypatch) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    oracle = write_recipe(whole, words, QUERIES)
    monkeypatch.chdir(whole)
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("JUDGE_KEY", "key-of-the-test")
    assert invoke([*RUN[:2], "--until", "mine"]) == 0
    shutil.copytree(whole, killed, symlinks=True)
    with serving(oracle) as server:
        told = end(start(whole, server.url))
        calls = server.ledger.billed
    assert summary(whole)["unjudged"] == 0, told

    deadly = Deadly(oracle)
    with serving(deadly, ledger=Ledger(pairs=pairs_of)) as server:
        before: set[str] = set()
        for moment in moments(calls, seed=13):
            deadly.asked, deadly.moment = [], moment
            process = start(killed, server.url)
            deadly.group = process.pid
            told = end(process)
            assert process.returncode == -signal.SIGKILL, told
            while server.connections:  # what was sent before the kill is still to come
                time.sleep(DELAY)
            after = kept(killed)
            assert before.isdisjoint(deadly.asked), "what was kept before is not asked again"
            assert len(set(deadly.asked) - after) <= CONCURRENCY, (
                "what was answered is kept, save what was in flight"
            )
            before = after
        deadly.asked, deadly.moment = [], None
        told = end(start(killed, server.url))
        assert before.isdisjoint(deadly.asked)
        ledger: Mapping = server.ledger.summary()

    judged, counted = judgments(killed), summary(killed)
    assert judged.equals(judgments(whole)), told
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
