"""A recipe runs from data to model through the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

STAGES = ["collect", "mine", "judge", "train", "evaluate", "export"]


def manifests(folder: Path) -> dict[str, dict[str, object]]:
    return {
        stage: json.loads(
            (folder / "runs/tiny/latest/stages" / stage / "manifest.json").read_text()
        )
        for stage in STAGES
    }


@pytest.mark.slow
def test_a_run_makes_a_model_and_a_second_run_reuses_everything(finished) -> None:
    first, folder = finished.ended, finished.folder
    run = folder / "runs" / "tiny" / "latest"

    rows = json.loads((run / "metrics.json").read_text())
    assert {row["system"] for row in rows} == {"bm25", "untrained", "trained"}
    assert all(
        {"evaluator", "split", "metric", "value", "low", "high", "queries"} <= set(row)
        for row in rows
    )
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    assert "trained" in first.stdout and "ndcg@10" in first.stdout

    report = (run / "report.md").read_text()
    for text in ("ndcg@10", "trained", "recipekit run recipe.yaml", "torch"):
        assert text in report
    before = manifests(folder)
    assert all(
        manifest["peak_bytes"] > 0 and manifest["seconds"] > 0 for manifest in before.values()
    )
    assert before["collect"]["device"] is None
    assert before["train"]["device"] == "CPU, fp32"
    assert "| CPU, fp32 |" in report and "bf16 in fp32" not in report

    model = SentenceTransformer(str(run / "stages" / "export" / "model"), device="cpu")
    trained = SentenceTransformer(str(run / "stages" / "train" / "encoder"), device="cpu")
    texts = ["river mountain valley"]
    assert (model.encode(texts) == trained.encode(texts)).all()
    assert (run / "stages" / "export" / "data" / "qrels" / "train.tsv").is_file()

    # A second run reuses every stage, and its process does not import torch.
    script = (
        "import sys; sys.argv = ['recipekit', 'run', 'recipe.yaml']\n"
        "from recipekit.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate', 'sentence_transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    again = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert again.stderr.count(": cached") == len(STAGES)
    assert manifests(folder) == before
    assert json.loads((run / "metrics.json").read_text()) == rows


@pytest.mark.slow
def test_a_changed_threshold_reruns_the_judge_and_later_stages(finished_copy, cli) -> None:
    changed = ("--set", "judge.judges.near.relative_margin=0.1")
    planned = {
        stage["stage"]: stage
        for stage in json.loads(cli("plan", "recipe.yaml", "--json", *changed).stdout)
    }
    assert [planned[stage]["state"] for stage in ("collect", "mine", "judge", "train")] == [
        "hit",
        "hit",
        "miss",
        "miss",
    ]
    assert planned["judge"]["reasons"] == ["judges.near.relative_margin: 0.05 → 0.1"]
    output = cli("run", "recipe.yaml", "--until", "judge", *changed).stderr
    assert "mine: cached" in output
    assert "judge: running (judges.near.relative_margin: 0.05 → 0.1)" in output


@pytest.mark.slow
def test_the_from_option_runs_a_cached_stage_again(finished_copy, cli) -> None:
    output = cli("run", "recipe.yaml", "--until", "mine", "--from", "mine").stderr
    assert "collect: cached" in output
    assert "mine: running" in output


def test_an_unknown_stage_is_reported_in_one_line(folder: Path, cli) -> None:
    for name, remedy in (
        ("trian", "Did you mean 'train'?"),
        ("zzz", "It has collect, mine, judge, train, evaluate, export."),
    ):
        ended = cli("run", "recipe.yaml", "--until", name, status=2)
        assert ended.stderr == f"--until {name}: this recipe has no such stage. {remedy} [RK605]\n"


def test_the_order_of_judges_is_part_of_the_key(folder: Path, cli) -> None:
    near = "near: {use: margin, encoder: student}"
    far = "far: {use: margin, encoder: student, relative_margin: 0.5}"
    text = (folder / "recipe.yaml").read_text()
    judge = "near: {use: margin, encoder: student, relative_margin: 0.05}"
    keys = []
    for judges in (f"{near}\n    {far}", f"{far}\n    {near}"):
        (folder / "recipe.yaml").write_text(text.replace(judge, judges))
        plan = json.loads(cli("plan", "recipe.yaml", "--json").stdout)
        keys.append(next(stage["key"] for stage in plan if stage["stage"] == "judge"))
    assert keys[0] != keys[1]


@pytest.mark.slow
def test_a_secret_is_written_to_no_file(folder: Path, cli) -> None:
    plugin = (
        "from typing import Annotated, ClassVar\n"
        "import numpy as np\n"
        "from recipekit.component import Hits, NotIdentity, RetrieverSpec\n"
        "class Remote(RetrieverSpec):\n"
        '    """Pretends to search a server."""\n'
        '    token: Annotated[str, NotIdentity] = ""\n'
        '    """Credential."""\n'
        "    counts: ClassVar = {}\n"
        "    searches_on_all_ranks: ClassVar = False\n"
        "    def build(self, context):\n"
        "        context.progress.warn(f'connecting with {self.token}')\n"
        "        context.progress.log('connect', token=self.token)\n"
        "        assert len(self.token) == 12\n"
        "        return self\n"
        "    def search(self, queries, depth):\n"
        "        raise RuntimeError(f'401 for {self.token}')\n"
    )
    (folder / "remote.py").write_text(plugin)
    text = (folder / "recipe.yaml").read_text()
    retriever = '"./remote.py:Remote", token: "${env:TINY_TOKEN}"'
    (folder / "recipe.yaml").write_text(
        text.replace("lexical: {use: bm25,", f"lexical: {{use: {retriever},")
    )
    assert "TINY_TOKEN" in cli("validate", "recipe.yaml", "--allow-local-code", status=2).stderr
    ended = cli("run", "recipe.yaml", "--allow-local-code", status=1, TINY_TOKEN="s3cr3t-t0ken")
    assert "RuntimeError: 401 for ${env:TINY_TOKEN}" in ended.stderr
    assert "s3cr3t-t0ken" not in ended.stderr + ended.stdout
    for file in folder.rglob("*"):
        if file.is_file():
            assert b"s3cr3t-t0ken" not in file.read_bytes(), file


@pytest.mark.parametrize("verb", ["run", "plan", "validate"])
def test_a_missing_recipe_is_reported_in_one_line(cli, verb: str) -> None:
    ended = cli(verb, "recipes.yaml", status=2)
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
