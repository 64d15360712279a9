"""`recipekit compare` with published baselines, next to a run and alone."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comparison.conftest import write_pairs
from recipekit.cli.main import invoke

Compared = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]


def figures(found: dict[str, Any], model: str) -> dict[tuple[str, str], float]:
    """The figures of a model by evaluator and metric."""
    return {
        (row["evaluator"], row["metric"]): row["value"]
        for row in found["figures"]
        if row["system"] == model
    }


def add_evaluators(project: Path, words: list[str]) -> None:
    """Give the recipe evaluators of triplets and of labelled pairs, and run it."""
    draw = random.Random(7)
    sides = ("anchor", "positive", "negative")
    triplets = [{side: " ".join(draw.sample(words, 2)) for side in sides} for _ in range(20)]
    pairs = [
        {"sentence1": row["anchor"], "sentence2": row["positive"], "label": number % 2}
        for number, row in enumerate(triplets)
    ]
    write_rows(project / "ordered.jsonl", triplets)
    write_rows(project / "labelled.jsonl", pairs)
    keys = (
        "    ordered: {use: triplets, file: ordered.jsonl, bootstrap_samples: 200}\n"
        "    labelled: {use: pairs, file: labelled.jsonl, bootstrap_samples: 200}\n"
    )
    recipe = project / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  baselines:", f"{keys}  baselines:"))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_a_published_baseline_stands_in_for_its_model(
    project: Path, compared: Compared, refused: Refused
) -> None:
    assert invoke(["share", "tiny", "baseline.zip"]) == 0
    found = compared("tiny", "baseline.zip", "baseline.zip:before")
    names = [model["name"] for model in found["models"]]
    assert names == ["tiny", "tiny published", "tiny before"]
    assert figures(found, "tiny published") == pytest.approx(figures(found, "tiny"), abs=1e-6)
    assert {evaluator for evaluator, _ in figures(found, "tiny published")} == {
        "held_out",
        "scored",
    }
    (same,) = [
        test
        for test in found["differences"]
        if (test["model"], test["metric"]) == ("tiny published", "ndcg@10")
    ]
    assert (same["difference"], same["p_adjusted"]) == (pytest.approx(0, abs=1e-6), 1)
    assert not found["notes"]

    alone = compared("baseline.zip:before", "baseline.zip")
    assert figures(alone, "tiny published") == pytest.approx(figures(found, "tiny published"))
    before, trained = alone["models"]
    costs = next(project.glob("runs/tiny/2*/stages/evaluate/rankings/*/efficiency.json"))
    run = json.loads(costs.read_text())
    assert trained["is_published"] and before["is_published"]
    assert trained["efficiency"] == {**trained["efficiency"], **run["trained"]}
    assert trained["efficiency"]["dimension"] and trained["efficiency"]["device"]

    assert refused("baseline.zip:dimensions=8", "tiny").startswith(
        "baseline.zip:dimensions=8: a baseline has published values and no model"
    )
    line = refused("tiny", "baseline.zip", "--on", "pairs.jsonl")
    assert line.startswith("baseline.zip: its published values belong to other queries")
    assert line.endswith("[RK675]")


def test_forgetting_is_compared_where_the_further_data_is_the_same(
    project: Path, compared: Compared, words: list[str]
) -> None:
    write_pairs(project / "general.jsonl", words, seed=11)
    recipe = project / "recipe.yaml"
    keys = (
        "    forgetting: {use: retrieval, source: general, bootstrap_samples: 200}\n"
        "  sources: {general: {use: pairs, file: general.jsonl}}\n"
    )
    recipe.write_text(recipe.read_text().replace("  baselines:", f"{keys}  baselines:"))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "tiny", "baseline"]) == 0

    found = compared("tiny", "baseline")
    published = figures(found, "tiny published")
    assert published == pytest.approx(figures(found, "tiny"), abs=1e-6)
    assert ("forgetting", "ndcg@10") in published
    alone = figures(compared("baseline:before", "baseline"), "tiny published")
    assert alone == pytest.approx(published)

    write_pairs(project / "general.jsonl", words, seed=12)
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    found = compared("tiny", "baseline")
    assert {name for name, _ in figures(found, "tiny published")} == {"held_out", "scored"}
    assert "tiny published has no published values that fit 'forgetting'." in found["notes"]


def test_any_system_of_a_baseline_is_compared_by_its_name(
    project: Path, compared: Compared, refused: Refused
) -> None:
    recipe = project / "recipe.yaml"
    text = recipe.read_text()
    both = "  baselines: {first: {use: bm25}, second: {use: bm25, k1: 2.0}}\n  untrained: false\n"
    lexical = text.replace("  baselines: {}\n", both)
    lexical = lexical[: lexical.index("train:")] + lexical[lexical.index("evaluate:") :]
    lexical = lexical.replace("    scored:", "    # scored:")
    recipe.write_text(lexical)
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "tiny", "lexical.zip"]) == 0

    found = compared("lexical.zip:first", "lexical.zip:second")
    assert [(model["name"], model["what"]) for model in found["models"]] == [
        ("tiny first", "baseline, first"),
        ("tiny second", "baseline, second"),
    ]
    rows = json.loads((project / "runs/tiny/latest/metrics.json").read_text())
    for system in ("first", "second"):
        own = {row["metric"]: row["value"] for row in rows if row["system"] == system}
        published = figures(found, f"tiny {system}")
        assert published == {("held_out", metric): value for metric, value in own.items()}
    assert {test["verdict"] for test in found["differences"]} <= {"win", "loss", "not significant"}

    assert refused("lexical.zip", "tiny:before") == (
        "lexical.zip: this baseline has no system 'trained' (it has: first, second); name one of "
        "them, as in lexical.zip:second [RK672]"
    )
    assert refused("tiny:befor", "bm25") == (
        "tiny:befor: 'befor' is not an option, and only a baseline has systems that can be named "
        "so. Did you mean 'before'? [RK673]"
    )
    recipe.write_text(lexical.replace(", second: {use: bm25, k1: 2.0}", ""))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "tiny", "single.zip"]) == 0
    assert compared("single.zip", "bm25", "--recipe", "recipe.yaml")["models"][0]["name"] == (
        "tiny first"
    )


def test_a_baseline_states_length_similarity_and_licence_of_its_model(
    project: Path, compared: Compared, capsys: pytest.CaptureFixture[str], tiny_model: Path
) -> None:
    shutil.copytree(tiny_model, project / "model")
    (project / "model" / "README.md").write_text("---\nlicense: mit\n---\n")
    recipe = project / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(tiny_model), "./model"))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "tiny", "baseline"]) == 0
    for model in compared("baseline:before", "baseline")["models"]:
        assert (model["max_length"], model["similarity"], model["licence"]) == (32, "cosine", "mit")
        assert model["base_model"] is None, "a path of this machine is not published"
    capsys.readouterr()
    assert invoke(["compare", "baseline:before", "baseline"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "baseline, trained" in line]
    assert line.split()[-4:] == ["32", "cosine", "mit", "(base)"]

    models = project / "baseline" / "models.json"
    index = json.loads((project / "baseline" / "bundle.json").read_text())
    del index["files"]["models.json"]
    (project / "baseline" / "bundle.json").write_text(json.dumps(index))
    models.write_text('{"trained": {"max_length": "long"}}')
    assert invoke(["compare", "baseline:before", "baseline"]) == 1
    assert "models.json: damaged; get the baseline again [RK542]" in capsys.readouterr().err
    models.unlink()
    assert compared("baseline:before", "baseline")["models"][0]["max_length"] is None


def test_published_values_of_a_file_are_compared_where_the_file_is_the_same(
    project: Path, compared: Compared, words: list[str]
) -> None:
    add_evaluators(project, words)
    assert invoke(["share", "tiny", "baseline"]) == 0

    found = compared("tiny:before", "baseline", "tiny")
    published, measured = figures(found, "tiny published"), figures(found, "tiny")
    assert published == pytest.approx(measured, abs=1e-6)
    assert {evaluator for evaluator, _ in published} == {
        "held_out",
        "scored",
        "ordered",
        "labelled",
    }
    assert not [note for note in found["notes"] if "published" in note]
    thresholds = {
        row["system"]: row["threshold"]
        for row in found["figures"]
        if (row["evaluator"], row["metric"]) == ("labelled", "f1_cosine")
    }
    assert thresholds["tiny published"] == pytest.approx(thresholds["tiny"], abs=1e-6)
    same = [test for test in found["differences"] if test["model"] == "tiny published"]
    other = [test for test in found["differences"] if test["model"] == "tiny"]
    keys = ("evaluator", "metric", "difference", "low", "high", "p_value")
    for one, two in zip(same, other, strict=True):
        assert [one[key] for key in keys[:2]] == [two[key] for key in keys[:2]]
        assert [one[key] for key in keys[2:]] == pytest.approx([two[key] for key in keys[2:]])

    file = project / "ordered.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    found = compared("tiny:before", "baseline", "--recipe", str(project / "recipe.yaml"))
    assert "tiny published has no published values that fit 'ordered'." in found["notes"]


def test_baselines_alone_are_compared_by_evaluators_of_texts(
    project: Path, compared: Compared, refused: Refused, words: list[str]
) -> None:
    recipe = project / "recipe.yaml"
    lines = recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join(line for line in lines if "held_out" not in line))
    add_evaluators(project, words)
    assert invoke(["share", "tiny", "first"]) == 0
    run = json.loads(next(project.glob("runs/tiny/latest/metrics.json")).read_text())

    data = project / "pairs.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:-2]))
    recipe.write_text(recipe.read_text().replace("name: tiny", "name: other"))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "other", "second"]) == 0

    found = compared("first", "first:before", "second")
    for system, name in (("trained", "tiny published"), ("untrained", "tiny before")):
        expected = {
            (row["evaluator"], row["metric"]): row["value"]
            for row in run
            if row["system"] == system
        }
        assert figures(found, name) == pytest.approx(expected)
    tests = {(test["model"], test["evaluator"]) for test in found["differences"]}
    evaluators = ("scored", "ordered", "labelled")
    models = ("tiny before", "other published")
    assert tests == {(model, evaluator) for model in models for evaluator in evaluators}
    assert all(test["p_adjusted"] is not None for test in found["differences"])


def test_published_scores_of_mteb_join_those_measured(project: Path, compared: Compared) -> None:
    recipe = project / "recipe.yaml"
    added = """\
    tasks:
      use: mteb
      bootstrap_samples: 200
      retrieval: {own: {split: test}}
      sts: {similar: {file: scored.jsonl}}
"""
    recipe.write_text(recipe.read_text().replace("  baselines:", f"{added}  baselines:"))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "tiny", "baseline"]) == 0

    def tests(found: dict[str, Any], model: str) -> dict[str, dict[str, Any]]:
        return {
            test["metric"]: test
            for test in found["differences"]
            if (test["model"], test["evaluator"]) == (model, "tasks")
        }

    found = compared("tiny:before", "baseline", "tiny")
    published, measured = tests(found, "tiny published"), tests(found, "tiny")
    assert list(published) == ["mean", "own ndcg_at_10", "similar cosine_spearman"]
    for metric, test in measured.items():
        numbers = ("value", "difference", "low", "high", "p_value")
        theirs = [published[metric][key] for key in numbers]
        assert theirs == pytest.approx([test[key] for key in numbers]), metric
    assert published["own ndcg_at_10"]["p_adjusted"] is not None
    assert published["similar cosine_spearman"]["verdict"] == "not tested"
    assert not [note for note in found["notes"] if "published" in note]

    alone = compared("baseline:before", "baseline")
    for metric, test in tests(alone, "tiny published").items():
        # mteb rounds the scores that it keeps to five digits.
        expected = pytest.approx(measured[metric]["difference"], abs=1e-4)
        assert test["difference"] == expected, metric
        assert (test["low"] is None) == (measured[metric]["low"] is None), metric

    scored = project / "scored.jsonl"
    scored.write_text("".join(scored.read_text().splitlines(keepends=True)[1:]))
    found = compared("tiny:before", "baseline", "--recipe", str(recipe))
    assert "tiny published has no published scores that fit 'tasks'." in found["notes"]


def test_searches_of_other_data_are_not_compared(
    project: Path, compared: Compared, refused: Refused
) -> None:
    assert invoke(["share", "tiny", "first"]) == 0
    data, recipe = project / "pairs.jsonl", project / "recipe.yaml"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:-2]))
    recipe.write_text(recipe.read_text().replace("name: tiny", "name: other"))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "other", "second"]) == 0

    found = compared("first", "second")
    assert {evaluator for evaluator, _ in figures(found, "tiny published")} == {
        "held_out",
        "scored",
    }
    assert {evaluator for evaluator, _ in figures(found, "other published")} == {"scored"}
    assert found["notes"] == ["other published has no published values that fit 'held_out'."]
    found = compared("tiny", "second")
    assert {evaluator for evaluator, _ in figures(found, "other published")} == {"scored"}

    lines = recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join(line for line in lines if "scored" not in line))
    assert invoke(["run", "recipe.yaml", "--cpu", "--quiet"]) == 0
    assert invoke(["share", "other", "third"]) == 0
    assert refused("first", "third") == (
        "third: its published values belong to other labels and passages and queries than those of "
        "first, so they cannot be compared [RK675]"
    )
