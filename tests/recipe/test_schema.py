"""The JSON Schema: what editors complete is what loading accepts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from recipekit.recipe.read import read_file
from recipekit.recipe.schema import recipe_schema
from recipekit.recipe.shipped import shipped
from recipekit.stages.recipe import load_recipe, recipe_model

ROOT = Path(__file__).parents[2]
COMMAND = "recipekit schema --distribution recipekit --output schemas/recipe.schema.json"


@pytest.fixture(scope="module")
def built_in() -> dict[str, Any]:
    return recipe_schema(recipe_model(), ["recipekit"])


def test_the_committed_schema_is_current(built_in: dict[str, Any]) -> None:
    committed = json.loads((ROOT / "schemas/recipe.schema.json").read_text())
    assert committed == built_in, f"schemas/recipe.schema.json is stale; renew it: {COMMAND}"


def test_the_schema_is_a_valid_json_schema(built_in: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(built_in)


def test_there_are_shipped_recipes() -> None:
    assert "quickstart" in shipped()
    assert set(shipped()) == {file.stem for file in (ROOT / "recipes").glob("*.yaml")}


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_are_valid_by_schema_and_by_loading(
    name: str, built_in: dict[str, Any]
) -> None:
    errors = jsonschema.Draft202012Validator(built_in).iter_errors(
        read_file(shipped()[name], name).value
    )
    assert [error.message for error in errors] == []
    assert load_recipe(name).name == name


SHELF = {
    "recipe": 1,
    "name": "x",
    "collect": {"sources": {"jars": {"use": "shelf", "path": "jars"}}},
}


@pytest.mark.parametrize(
    ("retriever", "valid"),
    [
        ({"use": "pantry", "depth": 5}, True),
        ({"use": "kitchen/pantry", "depth": 5}, True),
        ({"use": "pantry", "dpeth": 5}, False),
        ({"use": "pantry", "depth": "many"}, False),
        ({"use": "pantry", "port": "${env:PORT}"}, True),
        ({"use": "pantry", "port": "many"}, False),
        ({"use": "pantry", "login": {"user": "me", "pasword": "x"}}, False),
        ({"use": "pantri"}, False),
        ({"use": "twin"}, False),
        ({"use": "rival/twin"}, True),
        ({"use": "./own.py:Own", "anything": 1}, True),
        ({"depth": 5}, False),
    ],
)
def test_the_schema_has_the_components_of_plugins(
    retriever: dict[str, Any], valid: bool, installed: Path
) -> None:
    validator = jsonschema.Draft202012Validator(recipe_schema(recipe_model()))
    assert validator.is_valid({**SHELF, "mine": {"retrievers": {"jars": retriever}}}) is valid


@pytest.mark.usefixtures("installed")
def test_the_schema_has_docs_and_defaults_and_leaves_out_broken_plugins() -> None:
    definitions = recipe_schema(recipe_model())["$defs"]
    assert (
        definitions["retriever.pantry"]["properties"]["port"]["description"]
        == "The port of the pantry."
    )
    assert definitions["retriever.pantry"]["properties"]["port"]["default"] == 9200
    assert definitions["EvaluateSection"]["properties"]["baselines"]["default"] == {
        "bm25": {"use": "bm25"}
    }
    assert "judge.critic" in definitions
    assert "judge.burnt" not in definitions
