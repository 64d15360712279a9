"""A small recipe with its data, the command line, and a finished run."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
mine:
  retrievers:
    lexical: {{use: bm25, depth: 10}}
    dense: {{use: exact, encoder: student, depth: 10}}
  candidates_per_query: 8
judge:
  judges:
    near: {{use: margin, encoder: student, relative_margin: 0.05}}
train:
  phases:
    contrastive:
      use: coordinate_ascent
      loss: {{use: exact_softmax, temperature: 0.05}}
      query_epochs: 2
  batch_size: 8
  learning_rate: 1.0e-3
  precision: fp32
evaluate:
  evaluators:
    held_out: {{use: retrieval, split: test, metrics: [ndcg@10, recall@20], bootstrap_samples: 200}}
export:
  exporters:
    model: {{use: sentence_transformers}}
    data: {{use: dataset}}
"""


Ended = subprocess.CompletedProcess[str]
Cli = Callable[..., Ended]


def write_recipe(folder: Path, model: Path, words: list[str]) -> None:
    """Write `recipe.yaml`, and `pairs.jsonl` with 80 queries that share words with a passage."""
    random_words = random.Random(5)
    with (folder / "pairs.jsonl").open("w") as file:
        for _ in range(80):
            chosen = random_words.sample(words, 6)
            pair = {"query": " ".join(chosen[:3]), "positive": " ".join(chosen[1:])}
            file.write(json.dumps(pair) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model))


def call_cli(folder: Path, *arguments: str, status: int = 0, **environment: str) -> Ended:
    """Run the command line in a folder; it must exit with `status`."""
    ended = subprocess.run(
        [sys.executable, "-m", "recipekit", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended


@dataclass(frozen=True)
class FinishedRun:
    """A folder in which the recipe has run, and what the command printed."""

    folder: Path
    ended: Ended

    def copy(self, folder: Path) -> Path:
        """Copy the recipe, its data, the cache and the runs."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return folder

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.json."""
        return metrics(self.folder)


def metrics(folder: Path, runs: str = "runs") -> list[dict[str, Any]]:
    """The rows of metrics.json of the latest run in a folder."""
    rows: list[dict[str, Any]] = json.loads(
        (folder / runs / "tiny/latest/metrics.json").read_text()
    )
    return rows
