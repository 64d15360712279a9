"""`recipekit.compare` from a program or a notebook."""

from pathlib import Path

import pytest

import recipekit
from recipekit.component import Efficiency

ROWS = [{"query": f"word{n} here", "positive": f"word{n} is there"} for n in range(30)]


@pytest.mark.slow
def test_a_program_gets_typed_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas

    monkeypatch.chdir(tmp_path)
    pandas.DataFrame(ROWS).to_csv("pairs.csv", index=False)
    found = recipekit.compare(
        ["bm25", "bm25:k1=0"], on="pairs.csv", metrics=["mrr@10"], page="a/page.html", cpu=True
    )
    assert isinstance(found, recipekit.Comparison)
    assert (found.reference, found.passages) == ("bm25", 30)
    assert found.page == Path("a/page.html")
    assert found.page.read_text().startswith("<!doctype html>")
    assert [model.name for model in found.models] == ["bm25", "bm25 k1=0"]
    assert all(isinstance(model.efficiency, Efficiency) for model in found.models)
    (test,) = found.tested
    assert (test.metric, test.verdict, test.difference) == ("mrr@10", "not significant", 0.0)
    assert list(found.metrics.value) == [1.0, 1.0]
    assert list(found.differences.model) == ["bm25 k1=0"]
    assert found.queries == []
    other = recipekit.compare(["bm25", "bm25:b=0"], on=tmp_path / "pairs.csv", against="bm25:b=0")
    assert (other.reference, other.page) == ("bm25 b=0", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "there is nothing to measure"),
        ({"recipe": "quickstart", "on": "pairs.csv"}, "name a recipe or data to measure on"),
        ({"metrics": ["map@100"]}, "metrics need data to measure on"),
        ({"on": "pairs.csv", "metrics": ["map"]}, "metrics: "),
    ],
)
def test_what_is_measured_has_one_name(arguments: dict, message: str) -> None:
    with pytest.raises(recipekit.RecipekitError, match=message):
        recipekit.compare(["bm25", "bm25:k1=0"], cpu=True, **arguments)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_finished_run_is_a_model(project: Path) -> None:
    finished = recipekit.run("recipe.yaml")
    found = recipekit.compare([finished, "tiny:before"], against=finished, quiet=True, cpu=True)
    assert [model.what for model in found.models] == ["run, trained", "run, before training"]
    assert set(found.metrics.evaluator) == {"held_out", "scored"}
