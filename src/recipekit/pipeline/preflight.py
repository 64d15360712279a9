"""Checks of the components of later stages, before hours are spent on earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from recipekit.component import Component
from recipekit.component.method_errors import method_errors
from recipekit.errors import RecipekitError, error_location
from recipekit.recipe.load import mistakes_at, where
from recipekit.recipe.positions import KeyPath
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["check_data", "check_keys", "check_servers", "key_notes"]


def check_keys(recipe: Recipe) -> None:
    """Check the keys of all components against files on this machine (`Component.key_mistakes`).

    Raises:
        RecipeError: Everything that is wrong, each with the location of the key.
        ComponentError: The method of a plugin failed.
    """
    found: list[tuple[KeyPath, RecipekitError]] = []
    for path, slot in all_slots(recipe):
        with error_location(partial(where, recipe, path)), method_errors(slot.spec, "key_mistakes"):
            found += [((*path, *key.split(".")), error) for key, error in slot.spec.key_mistakes()]
    if found:
        raise mistakes_at(recipe, found)


def key_notes(recipe: Recipe, stages: Collection[str]) -> list[tuple[str, str]]:
    """Return warnings about the keys of some stages' components (`Component.key_notes`), by stage.

    Raises:
        ComponentError: The method of a plugin failed.
    """
    found = []
    for path, component in _components(recipe, stages):
        with error_location(partial(where, recipe, path)), method_errors(component, "key_notes"):
            for key, note in component.key_notes():
                at = where(recipe, (*path, *key.split(".")))
                found.append((str(path[0]), f"{at}: {note}"))
    return found


def check_servers(recipe: Recipe, stages: Collection[str]) -> None:
    """Check that some stages can reach their servers (`Component.reach`) and know their prices.

    Raises:
        RecipekitError: The first component that cannot work, with its location in the recipe.
    """
    for path, component in _components(recipe, stages):
        with error_location(partial(where, recipe, path)):
            limit = recipe.limits_of(str(path[0])).max_cost_usd
            if limit is not None:
                with method_errors(component, "check_limit"):
                    component.check_limit(limit)
            with method_errors(component, "reach"):
                component.reach()


def check_data(recipe: Recipe, stages: Collection[str], dataset: Dataset) -> None:
    """Check that the components of some stages can work on the data (`Component.check`).

    Raises:
        RecipekitError: The first component that cannot, with its location in the recipe.
    """
    for path, component in _components(recipe, stages):
        with error_location(partial(where, recipe, path)):
            with method_errors(component, "check"):
                component.check(dataset)


def _components(
    recipe: Recipe, stages: Collection[str]
) -> Iterator[tuple[KeyPath, Component[Any]]]:
    """Yield the components of some stages, with their paths."""
    for path, slot in all_slots(recipe):
        if path[0] in stages:
            yield path, slot.spec
