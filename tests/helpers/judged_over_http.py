"""Texts with known grades, a recipe, and runs in processes of their own, for tests of judging."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from helpers.in_process import call_in_process
from recipekit.judges.llm_judge.reply_forms import GradeForm
from recipekit.tables import read_table
from servers.fenced_oracle import fenced_oracle
from servers.openai_server import Answer, Call, Oracle, Policy

RECIPE = """\
recipe: 1
name: judged
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
  split: {dev: 0, test: 0}
mine:
  retrievers:
    lexical: {use: bm25, depth: 12}
  candidates_per_query: 12
judge:
  judges:
    model:
      use: llm
      model: openai/test-model
      api_base: ${env:JUDGE_URL}
      api_key: ${env:JUDGE_KEY}
      passages_per_call: 4
      concurrency: 8
      canary_share: 0.1
      price: {input: 1.0, output: 4.0}
  control_pairs: {share: 0.5}
"""
RUN = ("run", "recipe.yaml", "--until", "judge", "--cpu")
DELAY = 0.02
"""Seconds that an answer of `KillingPolicy` takes."""


def write_recipe(folder: Path, words: list[str], queries: int) -> Oracle:
    """Write `recipe.yaml` and `pairs.jsonl`, and return an oracle that knows the grades.

    A passage that contains two of a query's words answers it.
    """
    draw = random.Random(5)
    chosen = [draw.sample(words, 6) for _ in range(queries)]
    texts = [" ".join(some[:3]) + f" {number}" for number, some in enumerate(chosen)]
    passages = [" ".join([*some[:4], *draw.choices(words, k=8)]) for some in chosen]
    with (folder / "pairs.jsonl").open("w") as file:
        for query, passage in zip(texts, passages, strict=True):
            file.write(json.dumps({"query": query, "positive": passage}) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    truths = {}
    for query, some in zip(texts, chosen, strict=True):
        truths |= {
            (query, passage): 3 for passage in passages if len({*some[:3]} & {*passage.split()}) > 1
        }
    return fenced_oracle(truths, GradeForm((0, 1, 2, 3)))


def start(folder: Path, url: str, *more: str) -> subprocess.Popen[str]:
    """Run the recipe in a session of its own, so that all its processes can be killed at once."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipekit", *RUN, *more],
        cwd=folder,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "JUDGE_URL": f"{url}/v1",
            "JUDGE_KEY": "key-of-the-test",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_here(folder: Path, url: str, *more: str) -> str:
    """Run the recipe in this process; returns what it prints."""
    served = {"JUDGE_URL": f"{url}/v1", "JUDGE_KEY": "key-of-the-test"}
    return call_in_process(folder, *RUN, *more, merge=True, **served).stdout


def end(process: subprocess.Popen[str]) -> str:
    """The output of a run, after all of its processes have ended."""
    try:
        return process.communicate(timeout=300)[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


class KillingPolicy:
    """A policy that kills the client some seconds after a given call of an attempt has arrived."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.prompts: list[str] = []
        """The prompts of this attempt, in order."""
        self.moment: tuple[int, float] | None = None
        self.group = 0

    def __call__(self, call: Call) -> Answer:
        self.prompts.append(prompt(call.body["messages"]))
        if self.moment is not None and len(self.prompts) == self.moment[0]:
            threading.Timer(self.moment[1], os.killpg, (self.group, signal.SIGKILL)).start()
        return replace(self.policy(call), delay=DELAY)


def prompt(messages: object) -> str:
    """Messages as one string."""
    return json.dumps(messages, sort_keys=True)


def summary(folder: Path) -> Mapping:
    """The summary of the judge stage."""
    return json.loads((folder / "runs/judged/latest/stages/judge/manifest.json").read_text())[
        "summary"
    ]


def judgments(folder: Path) -> pa.Table:
    """The verdicts."""
    return read_table(folder / "runs/judged/latest/stages/judge/judgments.arrow")
