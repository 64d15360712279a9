"""A text where a list belongs, and its siblings: one clear line in files, dicts and overrides."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipekit import load_recipe
from recipekit.errors import RecipeError

RECIPE = """\
recipe: 1
name: lists
encoders:
  student: {use: bi_encoder, model: ./model}
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
mine:
  retrievers:
    lexical: {use: bm25}
evaluate:
  evaluators:
    held_out: {use: retrieval}
train:
  phases:
    only: {use: in_batch, loss: {use: infonce}}
"""
CASES = [
    ("mine.splits", "train", "expected a list, found the text 'train': write [train]"),
    ("train.phases.only.sources", "own", "expected a list, found the text 'own': write [own]"),
    (
        "evaluate.evaluators.held_out.metrics",
        "ndcg@10",
        "expected a list, found the text 'ndcg@10': write [ndcg@10]",
    ),
    ("mine.splits", {"train": True}, "expected a list, found a map of keys"),
    ("mine.splits", 1, "expected a list, found the number 1: write [1]"),
    ("mine.fusion_weights", [1], "expected a map of keys, found a list"),
    ("collect.sources.own.query", ["q"], "expected text, found a list: write q"),
    ("collect.sources.own.query", ["q", "r"], "expected text, found a list"),
    ("collect.sources.own.query", {"q": 1}, "expected text, found a map of keys"),
    ("collect.sources.own.query", 5, "expected text, found the number 5: quote it"),
    ("collect.sources.own.query", [5], "expected text, found a list"),
    ("collect.sources.own.file", ["a.csv"], "expected a path, found a list: write a.csv"),
    ("train.batch_size", [16], "expected a whole number, found a list: write 16"),
    ("train.batch_size", [True], "expected a whole number, found a list"),
    (
        "collect.sources.own.split",
        ["train"],
        "must be 'train', 'dev' or 'test', found a list: write train",
    ),
    (
        "train.phases.only.loss",
        [{"use": "infonce"}],
        "expected a map of keys, found a list: leave out the brackets",
    ),
]


def nested(path: str, value: Any) -> Any:
    """The recipe as a dict, with one value replaced."""
    recipe = yaml.safe_load(RECIPE)
    keys = path.split(".")
    inside = recipe
    for key in keys[:-1]:
        inside = inside.setdefault(key, {})
    inside[keys[-1]] = value
    return recipe


@pytest.mark.parametrize(("path", "value", "message"), CASES)
@pytest.mark.parametrize("form", ["file", "dict", "override"])
def test_a_value_of_the_wrong_shape_is_one_clear_line(tmp_path: Path, form, path, value, message):
    file = tmp_path / "recipe.yaml"
    overrides: list[str] = []
    recipe: Any = nested(path, value)
    if form == "override":
        recipe, overrides = yaml.safe_load(RECIPE), [f"{path}={json.dumps(value)}"]
    if form != "dict":
        file.write_text(yaml.safe_dump(recipe))
        recipe = file
    with pytest.raises(RecipeError) as raised:
        load_recipe(recipe, overrides)
    [problem] = raised.value.problems
    assert (problem.path, problem.message) == (path, message)


def test_tuples_in_a_dict_are_lists(tmp_path: Path):
    recipe = load_recipe(nested("mine.splits", ("train", "dev")))
    assert recipe.mine is not None
    assert recipe.mine.splits == ("train", "dev")
