"""A project with a finished run of a recipe that trains a tiny encoder."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.copy_run import copy_run
from helpers.in_process import call_in_process
from recipekit.cli.main import invoke

RECIPE = """\
recipe: 1
name: tiny
encoders:
  student: {{use: bi_encoder, model: {model}, max_length: 32, precision: fp32}}
collect:
  sources:
    own: {{use: pairs, file: pairs.jsonl, license: cc0-1.0}}
  split: {{dev: 0, test: 0.5}}
train:
  phases:
    contrastive:
      use: in_batch
      loss: {{use: infonce, temperature: 0.05}}
      epochs: 1
  batch_size: 8
  learning_rate: 1.0e-3
  precision: fp32
evaluate:
  evaluators:
    held_out: {{use: retrieval, split: test, metrics: [ndcg@10, recall@5], bootstrap_samples: 200}}
    scored: {{use: sts, file: scored.jsonl, similarities: [cosine], bootstrap_samples: 200}}
  baselines: {{}}
"""


def write_pairs(file: Path, words: list[str], seed: int) -> None:
    """Write 60 queries that share two words with their passage."""
    draw = random.Random(seed)
    with file.open("w") as lines:
        for _ in range(60):
            chosen = draw.sample(words, 5)
            pair = {"query": " ".join(chosen[:3]), "positive": " ".join(chosen[1:])}
            lines.write(json.dumps(pair) + "\n")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, words: list[str]) -> Path:
    """The folder of the project; tests copy it."""
    folder = tmp_path_factory.mktemp("compared")
    write_pairs(folder / "pairs.jsonl", words, seed=5)
    draw = random.Random(3)
    with (folder / "scored.jsonl").open("w") as lines:
        for _ in range(20):
            first, second = draw.sample(words, 2), draw.sample(words, 2)
            score = draw.random()
            row = {"sentence1": " ".join(first), "sentence2": " ".join(second), "score": score}
            lines.write(json.dumps(row) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(model=tiny_model))
    call_in_process(folder, "run", "--cpu", "--quiet")
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, which is the current folder."""
    copy_run(finished, tmp_path, "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """`compared("tiny:before", "tiny")` returns what `compare --json` prints."""

    def call(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        status = invoke(["compare", *arguments, "--cpu", "--json"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        found: dict[str, Any] = json.loads(printed.out)
        return found

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refused("tiny", "nope")` returns the only line of the error."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        assert invoke(["compare", *arguments, "--cpu"]) in (1, 2)
        *_, line = capsys.readouterr().err.splitlines()
        return line

    return call
