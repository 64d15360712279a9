"""A recipe for plans, with labels and pairs in files."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Store
from recipekit.dataset import Dataset
from recipekit.pipeline.plan import Plan, plan
from recipekit.recipe.sections import Recipe
from recipekit.stages.recipe import load_recipe

PLANNED = """\
recipe: 1
name: planned
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
mine: {retrievers: {lexical: {use: bm25, depth: 40}}, candidates_per_query: 30}
judge: {judges: {people: {use: labels, file: labels.csv}}}
"""
PAID = """\
recipe: 1
name: paid
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
mine: {retrievers: {lexical: {use: bm25}}}
judge:
  judges:
    model: {use: llm, model: openai/m, api_base: "http://127.0.0.1:1/v1"}
"""


@pytest.fixture
def planned_recipe(tmp_path: Path) -> Recipe:
    """A recipe that collects, mines and judges."""
    (tmp_path / "recipe.yaml").write_text(PLANNED)
    (tmp_path / "labels.csv").write_text(
        "query_id,passage_id,verdict\nq0,p1,positive\nq0,p2,negative\nq0,p3,\n"
    )
    (tmp_path / "pairs.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    return load_recipe(tmp_path / "recipe.yaml")


@pytest.fixture
def planned(tmp_path: Path):
    """`planned("spending.max_calls=5", ...)` plans the recipe with some keys replaced."""
    (tmp_path / "recipe.yaml").write_text(PAID)
    (tmp_path / "pairs.jsonl").write_text('{"query": "a", "positive": "b"}\n')

    def make(*overrides: str, **options: Any) -> Plan:
        recipe = load_recipe(tmp_path / "recipe.yaml", overrides)
        return plan(recipe, cache=tmp_path / "cache", **options)

    return make


@pytest.fixture
def finish(tmp_path: Path, tiny_dataset: Dataset):
    """`finish(plan, stage, summary)` commits the artifact of a planned stage."""
    store = Store(tmp_path / "cache")

    def commit(planned: Plan, name: str, summary: dict[str, Any]) -> None:
        stage = planned[name]

        def build(folder: Path) -> dict[str, Any]:
            if name == "collect":
                shutil.copytree(tiny_dataset.path, folder, dirs_exist_ok=True)
            made = manifest(
                stage=name,
                key=str(stage.key),
                identity=stage.identity,
                inputs=stage.identity["inputs"],
                summary=summary,
            )
            return {**made, "recipe": planned.recipe}

        store.make(name, str(stage.key), build)

    return commit
