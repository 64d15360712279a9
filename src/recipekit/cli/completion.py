"""What a shell completes: recipes, runs, stages and components. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

__all__ = [
    "complete_component",
    "complete_distribution",
    "complete_kind",
    "complete_recipe",
    "complete_run",
    "complete_section",
    "complete_shipped",
    "complete_source",
    "complete_stage",
]


def complete_recipe(incomplete: str) -> list[str]:
    """Recipe files and folders that start like this, and shipped recipes."""
    return [*_files(incomplete), *complete_shipped(incomplete)]


def complete_shipped(incomplete: str) -> list[str]:
    """The shipped recipes."""
    from recipekit.recipe.shipped import shipped

    return _starting(incomplete, shipped())


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Recipes that have runs, then recipe files and folders: a run is a folder, too."""
    from recipekit.errors import RecipekitError
    from recipekit.pipeline.project import find_project

    names: list[str] = []
    with suppress(OSError, RecipekitError):  # a folder that cannot be read completes to nothing
        runs = find_project(runs=context.params.get("runs")).runs
        names = sorted(folder.name for folder in runs.iterdir() if folder.is_dir())
    return [*_starting(incomplete, names), *_files(incomplete)]


def complete_stage(incomplete: str) -> list[str]:
    """The stages of the pipeline, in order."""
    from recipekit.stages import PIPELINE

    return _starting(incomplete, (stage.name for stage in PIPELINE))


def complete_section(incomplete: str) -> list[str]:
    """The top-level keys of a recipe."""
    from recipekit.stages.recipe import recipe_model

    return _starting(incomplete, recipe_model().model_fields)


def complete_kind(incomplete: str) -> list[str]:
    """The kinds of components."""
    from recipekit.component import KINDS

    return _starting(incomplete, KINDS)


def complete_component(context: typer.Context, incomplete: str) -> list[str]:
    """The installed components of the kind that was typed before."""
    from recipekit.component import KINDS
    from recipekit.registry import find, group

    typed = str(context.params.get("kind"))
    kinds = [kind for kind in KINDS if typed in (kind, group(kind).removeprefix("recipekit."))]
    return _starting(incomplete, (entry.name for kind in kinds for entry in find(kind)))


def complete_distribution(incomplete: str) -> list[str]:
    """The distributions that have components."""
    from recipekit.component import KINDS
    from recipekit.registry import find

    return _starting(
        incomplete, sorted({entry.distribution for kind in KINDS for entry in find(kind)})
    )


def complete_source(incomplete: str) -> list[str]:
    """The sources that a first recipe can have."""
    from recipekit.cli.init import SOURCES

    return _starting(incomplete, SOURCES)


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    """Recipe files and folders that start like this."""
    folder, _, start = incomplete.rpartition("/")
    prefix = f"{folder}/" if folder or incomplete.startswith("/") else ""
    found = []
    with suppress(OSError):  # a folder that cannot be read completes to nothing
        for path in sorted(Path(prefix or ".").expanduser().iterdir()):
            if path.name.startswith(start) and not (path.name.startswith(".") and not start):
                if path.is_dir():
                    found.append(f"{prefix}{path.name}/")
                elif path.suffix in (".yaml", ".yml"):
                    found.append(f"{prefix}{path.name}")
    return found
