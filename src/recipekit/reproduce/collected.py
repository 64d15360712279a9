"""The collected data of a recipe, from its cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit import stages
from recipekit.artifacts.store import Artifact, Store
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.plan import plan
from recipekit.pipeline.project import project_of
from recipekit.recipe.sections import Recipe
from recipekit.stages.dataset_view import dataset_view

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["collected_data", "collected_hashes"]


def collected_data(recipe: Recipe, cache: Path | None = None) -> Dataset | None:
    """Return the data set of a recipe, if every stage that adds to it is cached; None otherwise.

    Args:
        recipe: A loaded recipe.
        cache: The cache's folder; by default, that of the recipe's project.
    """
    store = Store(project_of(recipe, cache=cache).cache)
    extending = stages.dataset_stage_names()
    planned = [each for each in plan(recipe, cache=cache) if each.stage in extending]
    artifacts: dict[str, Artifact] = {}
    for each in planned:
        artifact = None if each.key is None else store.find(each.stage, each.key)
        if artifact is None:
            return None
        artifacts[each.stage] = artifact
    return dataset_view(artifacts)


def collected_hashes(recipe: Recipe, cache: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return rows and sha256 of the collected data (see `data_hashes`); empty before collect."""
    dataset = collected_data(recipe, cache)
    return {} if dataset is None else data_hashes(dataset)
