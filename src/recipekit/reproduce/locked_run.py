"""`run --locked`: a run that accepts only what the recipe's lock has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from recipekit.dataset import Dataset
from recipekit.pipeline.data_hashes import data_hashes
from recipekit.pipeline.named_files import named_files
from recipekit.recipe.sections import Recipe
from recipekit.reproduce.device import device_class
from recipekit.reproduce.drift import check_locked, drift
from recipekit.reproduce.lock import lock_file, lock_recipe, read_lock

__all__ = ["check_lock"]


def check_lock(recipe: Recipe, *, cpu: bool) -> Callable[[Dataset], None]:
    """Compare a recipe with its lock before a run.

    Args:
        recipe: A loaded recipe.
        cpu: Whether the run leaves accelerators out.

    Returns:
        A function that compares the collected data with the lock, for later in the run.

    Raises:
        StoreError: There is no lock, or it cannot be used.
        RunError: Something differs from the lock; the message lists every difference.
    """
    file = lock_file(recipe)
    locked = read_lock(file, recipe.name)
    found = lock_recipe(recipe, device=device_class(cpu=cpu))
    files = named_files(recipe)
    check_locked(drift(locked, found, files), str(file))

    def check_dataset(dataset: Dataset) -> None:
        collected = replace(found, data=data_hashes(dataset))
        check_locked(drift(locked, collected, files), str(file))

    return check_dataset
