"""Options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from recipekit.cli.completion import complete_recipe, complete_stage

__all__ = [
    "DEFAULT_RECIPE",
    "KIND_HELP",
    "Cache",
    "From",
    "LocalCode",
    "Overrides",
    "RecipeArgument",
    "Runs",
    "TrustRemoteCode",
    "Until",
]

DEFAULT_RECIPE: Final = "recipe.yaml"
KIND_HELP: Final = (
    "source, retriever, judge, encoder, vector_source, loss, phase, evaluator or exporter."
)
"""The kinds of components, written out: `--help` does not import them."""
RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, or the name of a shipped recipe.",
        autocompletion=complete_recipe,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a key. Can be repeated."),
]
LocalCode = Annotated[
    bool,
    typer.Option("--allow-local-code", help="Allow components from local Python files."),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="STAGE",
        help="Run this stage and all later ones again.",
        autocompletion=complete_stage,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="STAGE",
        help="Stop after this stage.",
        autocompletion=complete_stage,
    ),
]

Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="The cache folder. Default: RECIPEKIT_CACHE, or .recipekit in the recipe's project.",
        show_default=False,
    ),
]
Runs = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        metavar="DIR",
        help="The folder of all runs. Default: RECIPEKIT_RUNS, or runs in the recipe's project.",
        show_default=False,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Allow models to run Python code of their own."),
]
