"""Whether the components of the stages ahead can work on the data that was collected: asked before hours are spent."""

from __future__ import annotations

from collections.abc import Collection

from recipekit.errors import RecipekitError
from recipekit.recipe.load import where
from recipekit.recipe.models import Recipe
from recipekit.recipe.slots import slots
from recipekit.records import Dataset

__all__ = ["check_data"]


def check_data(recipe: Recipe, stages: Collection[str], dataset: Dataset) -> None:
    """Ask every component of some stages (`Component.check`).

    Raises:
        RecipekitError: What the first one has to say against the data, with its place in the recipe.
    """
    for path, _, slot in slots(Recipe, recipe):
        if path[0] not in stages:
            continue
        try:
            slot.spec.check(dataset)
        except RecipekitError as error:
            raise type(error)(f"{where(recipe, path)}: {error.message}", code=error.code) from error
