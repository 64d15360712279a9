"""`recipekit validate`: every mistake in a recipe, or a summary of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.completion import complete_recipe
from recipekit.cli.options import DEFAULT_RECIPE, LocalCode, Overrides

if TYPE_CHECKING:
    from recipekit.component import Slot
    from recipekit.recipe.sections import Recipe

__all__ = ["summary", "validate"]


def validate(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe files, or names of shipped recipes. Default: recipe.yaml.",
            show_default=False,
            autocompletion=complete_recipe,
        ),
    ] = None,
    overrides: Overrides = None,
    allow_local_code: LocalCode = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a JSON object per recipe: recipe, valid, problems, summary."
        ),
    ] = False,
) -> None:
    """Check recipes, and report every mistake with its source location.

    Needs no GPU, no data and no network. Columns and lengths are checked if the files and models
    are on this machine, and otherwise by plan and run.
    """
    from recipekit.errors import Problem, RecipeError
    from recipekit.exit_statuses import EXIT_USAGE
    from recipekit.pipeline.preflight import check_keys
    from recipekit.report.terminal_stream import columns
    from recipekit.stages.recipe import load_recipe

    problems: list[Problem] = []
    for recipe in recipes or [DEFAULT_RECIPE]:
        try:
            loaded = load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)
            check_keys(loaded)
            result = {"recipe": recipe, "valid": True, "problems": [], "summary": ""}
            room = columns(sys.stdout, 80) - len(f"{recipe}: valid ()")
            result["summary"] = summary(loaded, None if as_json else room)
        except RecipeError as error:
            problems += error.problems
            result = {
                "recipe": recipe,
                "valid": False,
                "problems": list(map(asdict, error.problems)),
            }
        if as_json:
            typer.echo(json.dumps(result, ensure_ascii=False))
        elif result["valid"]:
            typer.echo(f"{recipe}: valid ({result['summary']})")
    if problems and as_json:
        raise typer.Exit(EXIT_USAGE)
    if problems:
        raise RecipeError(problems)


def summary(recipe: Recipe, width: int | None = None) -> str:
    """What a recipe holds, in a line: its encoders and stages, with their components.

    A component is `name=use`, followed by those inside it: `phase=in_batch(loss=infonce)`. In a
    line that would be too long, the longest lists are replaced by their lengths.
    """
    from recipekit.recipe.slots import slots

    parts: dict[str, list[str]] = {}
    for path, _, slot in slots(type(recipe), recipe):
        name = path[-2] if path[-1] == "loss" else path[-1]
        parts.setdefault(str(path[0]), []).append(f"{name}={_use(slot)}")
    lists = {section: ", ".join(names) for section, names in parts.items()}

    def line() -> str:
        return "; ".join(f"{section}: {text}" for section, text in lists.items())

    for section in sorted(lists, key=lambda section: -len(lists[section])):
        if width is None or len(line()) <= width:
            break
        lists[section] = str(len(parts[section]))
    return line()


def _use(slot: Slot[Any]) -> str:
    """A component's name, with the components inside it in parentheses."""
    from recipekit.recipe.slots import slots

    inner = [
        f"{'.'.join(map(str, path))}={_use(child)}"
        for path, _, child in slots(type(slot.spec), slot.spec)
    ]
    return f"{slot.use}({', '.join(inner)})" if inner else slot.use
