"""Errors on their way from a stage's process to the user."""

import pytest

from recipekit.errors import (
    ComponentError,
    DataError,
    Problem,
    RecipeError,
    RecipekitError,
    RunError,
)
from recipekit.pipeline.job import read_error, write_error

PROBLEM = Problem("recipe.yaml:3:1", "train", "unknown key", "RK103")


@pytest.mark.parametrize(
    "error",
    [
        DataError("no rows", code="RK306"),
        ComponentError("not there"),
        RunError("killed", code="RK608"),
    ],
)
def test_a_longer_message_keeps_the_type_and_code_of_an_error(error: RecipekitError) -> None:
    with_message = error.with_message(f"collect: {error.message}")
    assert (type(with_message), with_message.code) == (type(error), error.code)
    assert str(with_message) == f"collect: {error}"


def test_a_recipe_error_with_another_message_keeps_its_code() -> None:
    with_message = RecipeError([PROBLEM]).with_message("collect: the recipe is wrong")
    assert (str(with_message), with_message.code) == ("collect: the recipe is wrong", "RK103")


@pytest.mark.parametrize(
    "error", [DataError("no rows", code="RK306"), RecipeError([PROBLEM]).with_message(str(PROBLEM))]
)
def test_errors_survive_a_file(error: RecipekitError, tmp_path) -> None:
    write_error(tmp_path / "error.json", error)
    read = read_error(tmp_path / "error.json")
    assert (type(read), read.code, str(read)) == (type(error), error.code, str(error))
    assert read_error(tmp_path / "none.json") is None
