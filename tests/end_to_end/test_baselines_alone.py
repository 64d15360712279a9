"""A recipe that measures BM25 needs no model."""

import json
from pathlib import Path

import pytest

import recipekit
from recipekit.stages.recipe import load_recipe

RECIPE = """\
recipe: 1
name: lexical
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}, split: {dev: 0, test: 0.5}}
evaluate:
  baselines: {bm25: {use: bm25, k1: 0.9, b: 0.4}}
  evaluators: {test: {use: retrieval, metrics: [ndcg@10], bootstrap_samples: 100}}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_recipe_without_encoders_measures_bm25(tmp_path: Path) -> None:
    rows = [{"query": f"word{i} here", "positive": f"word{i} is there"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    finished = recipekit.run(tmp_path / "recipe.yaml")

    (row,) = finished.metric_rows
    assert (row["system"], row["metric"], row["value"]) == ("bm25", "ndcg@10", 1.0)
    assert "bm25" in finished.report
    repeated = load_recipe(finished.path / "recipe.resolved.yaml")
    assert repeated.encoders is None


def test_a_cross_encoder_alone_reorders_bm25(tmp_path: Path) -> None:
    recipe = {
        "recipe": 1,
        "name": "second-stage",
        "encoders": {"cross": {"use": "cross_encoder", "model": "owner/any"}},
        "collect": {"sources": {"own": {"use": "python_code"}}},
        "evaluate": {"evaluators": {"test": {"use": "retrieval", "rerank": {"encoder": "cross"}}}},
    }
    assert list(load_recipe(recipe).evaluate.baselines) == ["bm25"]
    recipe["evaluate"]["encoder"] = "minilm"
    with pytest.raises(recipekit.RecipeError, match="there is no encoder 'minilm'"):
        load_recipe(recipe)
