"""A recipe for plans, with labels and pairs in files."""

from pathlib import Path

import pytest

from recipekit.recipe.sections import Recipe
from recipekit.stages.recipe import load_recipe

PLANNED = """\
recipe: 1
name: planned
collect: {sources: {own: {use: pairs, file: pairs.jsonl}}}
mine: {retrievers: {lexical: {use: bm25, depth: 40}}, candidates_per_query: 30}
judge: {judges: {people: {use: labels, file: labels.csv}}}
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
