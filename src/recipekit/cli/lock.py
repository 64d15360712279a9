"""`recipekit lock`: write down what a recipe's result depends on, or list what changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import (
    DEFAULT_RECIPE,
    Cache,
    LocalCode,
    Overrides,
    RecipeArgument,
)

if TYPE_CHECKING:
    from recipekit.reproduce.drift import Drift

__all__ = ["lock"]


def lock(
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: Overrides = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; list what differs from the lock, and exit 1."),
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Lock the CPU, as for run --cpu.")] = False,
    cache: Cache = None,
    allow_local_code: LocalCode = False,
    as_json: AsJson = False,
) -> None:
    """Write down everything that a recipe's result depends on, for run --locked.

    The lock of recipe.yaml is recipe.lock. It has the recipe's keys with their defaults, hashes of
    local files and of the collected data, revisions, indices, versions, and the class of device.
    """
    from recipekit.pipeline.named_files import named_files
    from recipekit.reproduce.collected import collected_hashes
    from recipekit.reproduce.device import device_class
    from recipekit.reproduce.drift import drift
    from recipekit.reproduce.lock import lock_file, lock_recipe, read_lock, write_lock
    from recipekit.stages.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)
    file = lock_file(loaded)
    locked = read_lock(file, loaded.name) if check else None
    found = lock_recipe(loaded, device=device_class(cpu=cpu), data=collected_hashes(loaded, cache))
    if locked is not None:
        _report(drift(locked, found, named_files(loaded)), file, as_json)
        return
    write_lock(file, found)
    if as_json:
        print_json({"lock": str(file), "data": dict(found.data)})
        return
    typer.echo(f"wrote {file}")
    if not found.data:
        typer.echo(
            "The data is not collected yet, so the lock has only its files and revisions. Run the "
            "recipe, then write the lock again.",
            err=True,
        )


def _report(differences: Sequence[Drift], file: Path, as_json: bool) -> None:
    """Print every difference from the lock, and exit with 1 if there are any."""
    if as_json:
        print_json([vars(each) for each in differences])
    elif not differences:
        typer.echo(f"{file}: nothing has changed")
    for each in () if as_json else differences:
        typer.echo(str(each))
    if differences:
        raise typer.Exit(1)
