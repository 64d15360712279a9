"""The JSON Schema: what editors complete is what loading accepts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from recipekit.recipe.read import read_file, read_text
from recipekit.recipe.schema import recipe_schema
from recipekit.recipe.schema_unions import simplified_unions
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


WHOLE = """\
recipe: 1
name: x
encoders: {student: {use: bi_encoder, model: m}}
collect:
  sources: {own: {use: pairs, file: a.jsonl}}
mine:
  retrievers: {lexical: {use: bm25, depth: 10}}
judge:
  judges: {grader: {use: llm, model: m}}
train:
  phases: {first: {use: in_batch, loss: {use: infonce}}}
  learning_rate: 5e-5
evaluate: {evaluators: {held_out: {use: retrieval, split: test}}}
export: {exporters: {data: {use: dataset}}}
"""


@pytest.mark.parametrize(
    ("path", "value", "marked"),
    [
        ("collect.sources.own", "pairs", "collect.sources.own"),
        ("collect.sources.own.use", "piars", "collect.sources.own.use"),
        ("collect.sources.own.files", "x", "collect.sources.own"),
        ("collect.sources", ["a"], "collect.sources"),
        ("encoders", "x", "encoders"),
        ("encoders.student", 3, "encoders.student"),
        ("mine.retrievers.lexical.depth", "many", "mine.retrievers.lexical.depth"),
        ("mine.retrievers.lexical.stop_words", "all", "mine.retrievers.lexical.stop_words"),
        ("mine.fussion", "rrf", "mine"),
        ("judge.judges.grader.price", {"inputt": 3}, "judge.judges.grader.price"),
        (
            "judge.judges.grader.price",
            {"input": "free", "output": 1},
            "judge.judges.grader.price.input",
        ),
        (
            "judge.judges.grader.previous_verdicts",
            "negative",
            "judge.judges.grader.previous_verdicts",
        ),
        ("judge.judges.grader.grades", {"0": "bad"}, "judge.judges.grader.grades.0"),
        ("judge.require", {"kappa": 3}, "judge.require.kappa"),
        ("train", "x", "train"),
        ("train.learning_rate", "fast", "train.learning_rate"),
        ("train.phases.first.loss", "infonce", "train.phases.first.loss"),
        ("train.phases.first.loss.use", "infoncee", "train.phases.first.loss.use"),
        ("train.phases.first.loss.temprature", 1, "train.phases.first.loss"),
        ("train.phases.first.learning_rate", "fast", "train.phases.first.learning_rate"),
        ("collect.holdout_positives", {"shar": 1}, "collect.holdout_positives"),
    ],
)
def test_an_error_is_at_the_key_that_is_wrong(
    path: str, value: Any, marked: str, built_in: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(built_in)
    recipe: dict[str, Any] = read_text(WHOLE, "r.yaml").value
    assert validator.is_valid(recipe)
    *parents, last = path.split(".")
    holder = recipe
    for key in parents:
        holder = holder[key]
    holder[last] = value
    best = jsonschema.exceptions.best_match(validator.iter_errors(recipe))
    found = ".".join(map(str, best.absolute_path))
    assert found == marked
    assert "given schemas" not in best.message


@pytest.mark.parametrize(
    ("value", "valid"), [("5e-5", True), ("1.5E+3", True), ("5e-5x", False), ("fast", False)]
)
@pytest.mark.parametrize("path", ["train", "train.phases.first"])
def test_the_schema_accepts_exponents_that_yaml_1_1_reads_as_text(
    path: str, value: str, valid: bool, built_in: dict[str, Any]
) -> None:
    recipe = yaml.safe_load(WHOLE)
    assert recipe["train"]["learning_rate"] == "5e-5", "PyYAML follows YAML 1.1"
    holder = recipe
    for key in path.split("."):
        holder = holder[key]
    holder["learning_rate"] = value
    assert jsonschema.Draft202012Validator(built_in).is_valid(recipe) is valid


def test_merged_types_accept_what_the_union_accepted() -> None:
    union = {"anyOf": [{"type": "number", "minimum": 1}, {"type": "null"}, {"$ref": "#/$defs/x"}]}
    whole = {"$defs": {"x": {"type": "object", "required": ["a"]}}}
    before = jsonschema.Draft202012Validator({**union, **whole})
    after = jsonschema.Draft202012Validator({**simplified_unions(union), **whole})
    for value in (0, 1, None, {}, {"a": 1}, [], "x", True):
        assert before.is_valid(value) is after.is_valid(value), value
