"""A small recipe on data of its own, and the command line to run it with."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
    contrastive: {{use: coordinate_ascent, loss: {{use: exact_softmax, temperature: 0.05}}, query_epochs: 2}}
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


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path, words: list[str]) -> Path:
    """A folder with `recipe.yaml` and `pairs.jsonl`: 80 descriptions, each with its passage."""
    draw = random.Random(5)
    with (tmp_path / "pairs.jsonl").open("w") as file:
        for _ in range(80):
            chosen = draw.sample(words, 6)
            file.write(
                json.dumps({"query": " ".join(chosen[:3]), "positive": " ".join(chosen[1:])}) + "\n"
            )
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tiny_model))
    return tmp_path


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(folder: Path) -> Cli:
    """`cli("run", "recipe.yaml")` runs the command line in the recipe's folder.

    `status` is what it must end with.
    """

    def call(
        *arguments: str, status: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
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

    return call
