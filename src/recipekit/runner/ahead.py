"""What the components of the stages ahead are asked before hours are spent on the stages before them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from recipekit.component import Component
from recipekit.errors import RecipekitError
from recipekit.recipe.load import where
from recipekit.recipe.models import Recipe
from recipekit.recipe.slots import slots
from recipekit.records import Dataset

__all__ = ["check_data", "check_servers"]


def check_servers(recipe: Recipe, stages: Collection[str]) -> None:
    """See that every server can be asked that the components of some stages work with (`Component.reach`).

    Raises:
        RecipekitError: What the first one has to say, with its place in the recipe.
    """
    for place, component in _components(recipe, stages):
        with _told_at(place):
            component.reach()


def check_data(recipe: Recipe, stages: Collection[str], dataset: Dataset) -> None:
    """See that every component of some stages can work on the collected data (`Component.check`).

    Raises:
        RecipekitError: What the first one has to say against the data, with its place in the recipe.
    """
    for place, component in _components(recipe, stages):
        with _told_at(place):
            component.check(dataset)


def _components(recipe: Recipe, stages: Collection[str]) -> Iterator[tuple[str, Component]]:
    """The components of some stages, and where each stands."""
    for path, _, slot in slots(Recipe, recipe):
        if path[0] in stages:
            yield where(recipe, path), slot.spec


@contextmanager
def _told_at(place: str) -> Iterator[None]:
    try:
        yield
    except RecipekitError as error:
        raise error.retold(f"{place}: {error.message}") from error
