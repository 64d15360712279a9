"""Finds the run that a user names: by its folder, its id, its recipe, or the recipe's file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from recipekit.errors import StoreError
from recipekit.pipeline.project import find_project, project_of_file
from recipekit.recipe.read import read_file
from recipekit.suggestions import did_you_mean

__all__ = ["find_run", "recipe_runs"]


def find_run(run: str, runs: Path | None) -> Path:
    """The folder of a run: `run` itself, or the latest run of a recipe.

    Args:
        run: The folder of a run, its id or the part after the last dash, a recipe file, or a
            recipe's name.
        runs: The folder of all runs; by default, that of the project.

    Raises:
        StoreError: There is no such run, or an id is that of several.
    """
    if run.endswith((".yaml", ".yml")) and os.path.isfile(run):
        return _latest(_recipe_name(run), project_of_file(run, runs=runs).runs)
    return _latest(run, find_project(runs=runs).runs)


def recipe_runs(recipe: str, runs: Path | None) -> tuple[str, Path]:
    """The name of a recipe that has runs, and the folder of all runs of its project.

    Args:
        recipe: A recipe file, or a recipe's name.
        runs: The folder of all runs; by default, that of the project.

    Raises:
        StoreError: The recipe has no runs.
    """
    if recipe.endswith((".yaml", ".yml")) and os.path.isfile(recipe):
        name, folder = _recipe_name(recipe), project_of_file(recipe, runs=runs).runs
    else:
        name, folder = recipe, find_project(runs=runs).runs
    with suppress(OSError):  # a name can be too long for a file
        if (folder / name).is_dir():
            return name, folder
    raise _not_found(name, folder)


def _recipe_name(file: str) -> str:
    """The name in a recipe file."""
    value = read_file(Path(file), file).value
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else file


def _latest(run: str, runs: Path) -> Path:
    latest = runs / run / "latest"
    with suppress(OSError):  # a name can be too long for a file
        if latest.is_dir():
            return latest
        if Path(run).is_dir():
            return Path(run)
    if by_id := _with_id(run, runs):
        return by_id
    raise _not_found(run, runs)


def _with_id(id: str, runs: Path) -> Path | None:
    """The run whose folder has a name, or ends in `-NAME`; None if there is none.

    Raises:
        StoreError: There are several, such as two runs of an unchanged recipe.
    """
    every = (runs / recipe / name for recipe in _folders(runs) for name in _folders(runs / recipe))
    folders = [folder for folder in every if not folder.is_symlink()]
    found = [folder for folder in folders if folder.name == id or folder.name.endswith(f"-{id}")]
    if len(found) > 1:
        lines = "".join(f"\n  {folder}" for folder in found)
        raise StoreError(
            f"run '{id}': {len(found)} runs have this id; name one by its folder{lines}",
            code="RK541",
        )
    return found[0] if found else None


def _not_found(run: str, runs: Path) -> StoreError:
    latest = runs / run / "latest"
    recipes = _folders(runs)
    if run in recipes:
        kept = _folders(runs / run)
        newest = f" The newest run is {runs / run / kept[-1]}." if kept else ""
        reason = (
            "points to a run that no longer exists" if latest.is_symlink() else "does not exist"
        )
        return StoreError(f"no run '{run}': {latest} {reason}.{newest}", code="RK541")
    if not recipes:
        advice = f" No recipe has been run yet: {runs} is missing or empty."
    else:
        advice = did_you_mean(run, recipes) or f" There are runs of {', '.join(recipes)}."
    reason = f"it is not a folder, and {latest} does not exist"
    if os.path.isfile(run):  # False for a name that is too long
        reason = "it is a file; give the name of the recipe, or the folder of a run"
    return StoreError(f"no run '{run}': {reason}.{advice}", code="RK541")


def _folders(parent: Path) -> list[str]:
    if not parent.is_dir():
        return []
    return sorted(folder.name for folder in parent.iterdir() if folder.is_dir())
