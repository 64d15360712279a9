"""Where the artifacts and runs of a recipe are kept: next to the recipe's project.

| folder | default | overridden by |
|---|---|---|
| cache | `<project>/.recipekit` | `--cache`, `RECIPEKIT_CACHE` |
| runs | `<project>/runs` | `--runs`, `RECIPEKIT_RUNS` |

The project of a recipe is the nearest folder, from the recipe's own folder upwards, that has
`.recipekit`, `pyproject.toml` or `.git`. If there is none, it is the recipe's folder. A recipe that
comes with recipekit, or that is not in a file, belongs to the project of the current folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recipekit.recipe.sections import Recipe
from recipekit.recipe.shipped import is_shipped, locate
from recipekit.report.paths import path_from_here

__all__ = ["CACHE_VARIABLE", "Project", "find_project", "project_of", "project_of_file"]

CACHE: Final = ".recipekit"
RUNS: Final = "runs"
CACHE_VARIABLE: Final = "RECIPEKIT_CACHE"
RUNS_VARIABLE: Final = "RECIPEKIT_RUNS"


@dataclass(frozen=True)
class Project:
    """The folders of a project. Paths inside the current folder are relative to it."""

    cache: Path
    """Artifacts and paid replies."""
    runs: Path
    """The folder that contains all runs."""


def project_of(
    recipe: Recipe, *, cache: Path | str | None = None, runs: Path | str | None = None
) -> Project:
    """Return the project of a loaded recipe; see `find_project`."""
    return find_project(recipe.origin.project_start, cache=cache, runs=runs)


def project_of_file(
    source: Path | str, *, cache: Path | str | None = None, runs: Path | str | None = None
) -> Project:
    """Return the project of a recipe that is not loaded.

    Args:
        source: A recipe file, or the name of a shipped recipe.
        cache: See `find_project`.
        runs: See `find_project`.

    Raises:
        RecipeError: There is no such recipe.
    """
    file = locate(source)
    start = Path.cwd() if is_shipped(source, file) else file.absolute().parent
    return find_project(start, cache=cache, runs=runs)


def find_project(
    start: Path | None = None, *, cache: Path | str | None = None, runs: Path | str | None = None
) -> Project:
    """Return the project of a folder.

    Args:
        start: The folder from which the project is looked for; by default, the current folder.
        cache: The folder of artifacts, if it is not the project's.
        runs: The folder of runs, if it is not the project's.
    """
    folder = _project_folder((start or Path.cwd()).absolute())
    return Project(
        cache=_chosen(cache, CACHE_VARIABLE) or path_from_here(folder / CACHE),
        runs=_chosen(runs, RUNS_VARIABLE) or path_from_here(folder / RUNS),
    )


def _chosen(given: Path | str | None, variable: str) -> Path | None:
    """Return the folder that the caller or the environment names, if any."""
    chosen = given if given is not None else os.environ.get(variable)
    return Path(chosen).expanduser() if chosen else None


def _project_folder(start: Path) -> Path:
    return next((folder for folder in _candidates(start) if _is_project(folder)), start)


def _candidates(start: Path) -> Iterator[Path]:
    """Yield the folders that can be the project, nearest first.

    A home folder under version control is not the project of everything in it, and a folder that
    everyone can write to, such as `/tmp`, is not the project of other people's folders.
    """
    yield start
    home = Path.home()
    for folder in start.parents:
        if folder == home or folder == Path(folder.anchor) or _is_writable_for_all(folder):
            return
        yield folder


def _is_writable_for_all(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True  # a folder that cannot be read is not a project


def _is_project(folder: Path) -> bool:
    # os.path returns False for what cannot be read, where pathlib raises.
    return (
        os.path.isdir(folder / CACHE)
        or os.path.isfile(folder / "pyproject.toml")
        or os.path.exists(folder / ".git")
    )
