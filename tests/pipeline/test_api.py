"""recipekit from Python: paths, dicts, tables in memory, and finished runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recipekit
from helpers.in_process import call_in_process
from helpers.small_run import write_recipe
from recipekit.pipeline import run_result

ROWS = [{"q": f"question {n}", "a": f"answer {n} river"} for n in range(8)]


def recipe_of(file: Any) -> dict[str, Any]:
    """A recipe that collects pairs and mines."""
    return {
        "recipe": 1,
        "name": "memory",
        "collect": {
            "sources": {"own": {"use": "pairs", "file": file, "query": "q", "positive": "a"}},
            "split": {"dev": 0, "test": 0},
        },
        "mine": {"retrievers": {"lexical": {"use": "bm25", "depth": 4}}},
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `pairs.jsonl` in it."""
    monkeypatch.delenv("RECIPEKIT_CACHE", raising=False)
    monkeypatch.delenv("RECIPEKIT_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def tables() -> dict[str, Any]:
    """The rows as every kind of table."""
    import datasets
    import pandas
    import pyarrow

    return {
        "pandas": pandas.DataFrame(ROWS),
        "pyarrow": pyarrow.Table.from_pylist(ROWS),
        "datasets": datasets.Dataset.from_list(ROWS),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_dict_with_a_table_runs_like_a_file(folder: Path) -> None:
    for table in tables().values():
        finished = recipekit.run(recipe_of(table), until="collect")
        assert finished.path.is_absolute()
    assert len(os.listdir(folder / ".recipekit" / "cache" / "collect")) == 2  # with its lock
    command = json.loads((finished.path / "run.json").read_text())["command"]
    again = call_in_process(folder.parent, *command.split()[1:], "--until", "collect")
    assert "collect: cached" in again.stderr


def test_planning_a_dict_writes_nothing_and_has_the_keys_of_its_run(folder: Path) -> None:
    import pandas

    recipe = recipe_of(pandas.DataFrame(ROWS))
    planned = recipekit.plan(recipe)
    assert os.listdir(folder) == ["pairs.jsonl"]
    loaded = recipekit.load_recipe(recipe)
    assert [stage.key for stage in recipekit.plan(loaded)] == [stage.key for stage in planned]


def test_the_same_recipe_as_path_text_dict_and_object_has_one_plan(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(json.dumps(recipe_of("pairs.jsonl")))
    forms = [
        "recipe.yaml",
        Path("recipe.yaml"),
        recipe_of("pairs.jsonl"),
        recipe_of(folder / "pairs.jsonl"),
        recipekit.load_recipe("recipe.yaml"),
    ]
    keys = {tuple(stage.key for stage in recipekit.plan(form)) for form in forms}
    assert len(keys) == 1


def test_values_of_numpy_and_tuples_are_plain_values(folder: Path) -> None:
    import numpy

    recipe = recipe_of("pairs.jsonl") | {"seed": numpy.int64(7)}
    recipe["mine"]["splits"] = ("train",)
    assert recipekit.load_recipe(recipe).seed == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 7}, "recipe: seeds: unknown key. Did you mean 'seed'?"),
        ({"seed": "x"}, "recipe: seed: expected a whole number, found the text 'x'"),
        ({"seed": float("nan")}, "recipe: seed: nan is not a finite number"),
        ({7: "x"}, "recipe: the key 7 is not text"),
        (
            {"seed": {1, 2}},
            "recipe: seed: expected a text, number, list or dict, found a value of type set",
        ),
    ],
)
def test_a_mistake_in_a_dict_is_one_line_with_its_path(
    folder: Path, change: dict[Any, Any], message: str
) -> None:
    with pytest.raises(recipekit.RecipeError) as caught:
        recipekit.plan(recipe_of("pairs.jsonl") | change)
    assert str(caught.value) == message


def test_a_text_where_a_list_is_expected_is_refused(folder: Path) -> None:
    message = "recipe: overrides: expected a list, found a text; write ['seed=7']"
    for call in (recipekit.load_recipe, recipekit.plan, recipekit.run):
        with pytest.raises(recipekit.RecipekitError) as caught:
            call(recipe_of("pairs.jsonl"), "seed=7")
        assert str(caught.value) == message
    recipe = recipe_of("pairs.jsonl")
    recipe["mine"]["splits"] = "train"
    with pytest.raises(recipekit.RecipeError, match=r"^recipe: mine\.splits: expected a list"):
        recipekit.plan(recipe)


def test_a_recipe_of_another_type_is_refused(folder: Path) -> None:
    with pytest.raises(recipekit.RecipeError, match="found a value of type list"):
        recipekit.plan(["recipe.yaml"])  # type: ignore[arg-type]
    loaded = recipekit.load_recipe(recipe_of("pairs.jsonl"))
    with pytest.raises(recipekit.RecipekitError, match="loaded"):
        recipekit.plan(loaded, ["seed=7"])


def test_a_missing_file_of_a_dict_is_named_with_its_path(folder: Path) -> None:
    with pytest.raises(recipekit.RecipekitError) as caught:
        recipekit.plan(recipe_of("missing.jsonl"))
    assert str(caught.value).startswith("recipe: collect.sources.own: ")
    assert "missing.jsonl" in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_finished_run_has_a_model_and_figures_with_intervals(
    folder: Path, tiny_model: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(folder, tiny_model, words)
    finished = recipekit.run("recipe.yaml", ["train.learning_rate=1e-4"], export_to="out")
    assert "--set train.learning_rate=1e-4" in finished.report
    monkeypatch.chdir("/")
    assert finished.report_html == finished.path / "report.html"
    assert finished.report_html.is_file()
    frame = finished.metrics
    assert {"system", "metric", "value", "low", "high"} <= set(frame.columns)
    assert (frame.low <= frame.value).all()
    assert (frame.value <= frame.high).all()
    assert finished.model is finished.model
    assert finished.model.encode_query(["river"]).shape == (1, 32)
    assert (finished.model_path / "modules.json").is_file()
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", lambda path, **given: given)
    assert finished.trust_remote_code is False
    trusting = recipekit.run(
        folder / "recipe.yaml", ["train.learning_rate=1e-4"], trust_remote_code=True
    )
    assert trusting.model == {"trust_remote_code": True}
    assert (folder / "out" / "model" / "modules.json").is_file()
    monkeypatch.setattr(run_result, "find_spec", lambda name: None)
    assert finished.metrics == finished.metric_rows
    assert [row["value"] for row in finished.metric_rows] == list(frame.value)

    untrained = recipekit.run(folder / "recipe.yaml", until="mine")
    with pytest.raises(recipekit.RecipekitError, match="this run trained no model"):
        untrained.model  # noqa: B018


def test_importing_recipekit_imports_nothing_slow() -> None:
    program = "import sys, recipekit; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    slow = {"torch", "numpy", "pandas", "pyarrow", "pydantic", "yaml", "datasets", "transformers"}
    assert not slow.intersection(modules)
