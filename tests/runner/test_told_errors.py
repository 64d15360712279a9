"""Errors on their way from a stage's process to the user."""

import pytest

from recipekit.errors import ComponentError, DataError, Problem, RecipeError, RecipekitError, RunError
from recipekit.runner.job import read_error, write_error

PROBLEM = Problem("recipe.yaml:3:1", "train", "unknown key", "RK103")


@pytest.mark.parametrize("error", [DataError("no rows", code="RK306"), ComponentError("not there"), RunError("killed", code="RK608")])
def test_an_error_told_in_other_words_is_the_same_error(error: RecipekitError) -> None:
    retold = error.retold(f"collect: {error.message}")
    assert (type(retold), retold.code) == (type(error), error.code)
    assert str(retold) == f"collect: {error}"


def test_so_is_one_of_a_recipe_but_for_its_list_of_problems() -> None:
    retold = RecipeError([PROBLEM]).retold("collect: the recipe is wrong")
    assert (str(retold), retold.code) == ("collect: the recipe is wrong", "RK103")


@pytest.mark.parametrize("error", [DataError("no rows", code="RK306"), RecipeError([PROBLEM]).retold(str(PROBLEM))])
def test_errors_come_through_a_file(error: RecipekitError, tmp_path) -> None:
    write_error(tmp_path / "error.json", error)
    read = read_error(tmp_path / "error.json")
    assert (type(read), read.code, str(read)) == (type(error), error.code, str(error))
    assert read_error(tmp_path / "none.json") is None
