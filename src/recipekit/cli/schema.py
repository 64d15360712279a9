"""`recipekit schema`: the JSON Schema with which an editor completes and checks recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recipekit.cli.completion import complete_distribution

__all__ = ["schema"]


def schema(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the schema to this file."),
    ] = None,
    distributions: Annotated[
        list[str] | None,
        typer.Option(
            "--distribution",
            metavar="NAME",
            help="Include only the components of this distribution. Can be repeated.",
            autocompletion=complete_distribution,
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of recipes, with the installed components.

    In VS Code with the YAML extension, and in other editors, a recipe's first line names it:
    `# yaml-language-server: $schema=recipe.schema.json`.
    """
    from recipekit.errors import StoreError
    from recipekit.recipe.schema import recipe_schema
    from recipekit.stages.recipe import recipe_model

    for name in distributions or ():
        _known(name)
    text = (
        json.dumps(recipe_schema(recipe_model(), distributions), indent=2, ensure_ascii=False)
        + "\n"
    )
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{output}: cannot be written ({error.strerror})", code="RK502") from error


def _known(distribution: str) -> None:
    """Raise an error for a distribution without components."""
    from recipekit.component import KINDS
    from recipekit.errors import ComponentError
    from recipekit.registry import find
    from recipekit.suggestions import did_you_mean

    known = sorted({entry.distribution for kind in KINDS for entry in find(kind)})
    if distribution not in known:
        advice = (
            did_you_mean(distribution, known)
            or f" Distributions with components: {', '.join(known)}."
        )
        raise ComponentError(
            f"--distribution {distribution}: has no components.{advice}", code="RK201"
        )
