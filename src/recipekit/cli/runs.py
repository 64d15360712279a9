"""`recipekit runs`: list runs, or show what changed between two of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from recipekit.cli.completion import complete_run
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import Runs

__all__ = ["runs"]


def runs(
    first: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="List only the runs of this recipe; with RUN, the first run to compare.",
            autocompletion=complete_run,
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Show what changed from the first run to this one.",
            autocompletion=complete_run,
        ),
    ] = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """List runs with their figures, or show what changed between two of them.

    A run is named by its folder, by its id in the list or the part after the last dash, or by its
    recipe, for the latest run.
    """
    if second is None:
        _list(first, runs, as_json)
    else:
        _compare(str(first), second, runs, as_json)


def _list(recipe: str | None, runs: Path | None, as_json: bool) -> None:
    from recipekit.pipeline.find_run import recipe_runs
    from recipekit.pipeline.project import find_project
    from recipekit.pipeline.run_list import listed_runs, runs_table
    from recipekit.report.terminal import print_blocks

    folder = find_project(runs=runs).runs
    name = None
    if recipe is not None:
        name, folder = recipe_runs(recipe, runs)
    found = listed_runs(folder, name)
    if as_json:
        print_json([run.as_json() for run in found])
    elif found:
        print_blocks(runs_table(found))
    else:
        typer.echo(f"{os.path.join(folder, '')}: there are no runs yet")


def _compare(first: str, second: str, runs: Path | None, as_json: bool) -> None:
    from recipekit.pipeline.find_run import find_run
    from recipekit.pipeline.run_differences import compare_runs, differences_blocks
    from recipekit.report.terminal import print_blocks

    found = compare_runs(find_run(first, runs), find_run(second, runs))
    if as_json:
        print_json(found.as_json())
    else:
        print_blocks(differences_blocks(found))
