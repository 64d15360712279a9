"""Options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Cache", "Runs"]

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
