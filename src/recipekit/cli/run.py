"""`recipekit run`: execute a recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["run"]


def run(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a key; repeatable."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="Make this stage and those after it anew."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="The cache's folder.")] = Path(".recipekit"),
    runs: Annotated[Path, typer.Option(help="Where the run's folder is made.")] = Path("runs"),
    accelerate_config: Annotated[
        Path | None, typer.Option(help="Accelerate's configuration; its saved default otherwise.")
    ] = None,
    num_processes: Annotated[
        int | None,
        typer.Option(help="Processes that encode and train together; overrides Accelerate's."),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Keep off accelerators.")] = False,
    allow_local_code: Annotated[
        bool,
        typer.Option("--allow-local-code", help="Let the recipe name components in local files."),
    ] = False,
) -> None:
    """Execute a recipe: make what is not made yet, and report.

    What is in the cache is reused; a run that was killed goes on where it was when the same command
    is given again.
    """
    from recipekit.pipeline.execute import run as execute
    from recipekit.pipeline.launch import read_launch
    from recipekit.pipeline.report import closing_blocks
    from recipekit.recipe.environment import redact
    from recipekit.report.terminal import print_blocks
    from recipekit.stages.recipe import load_recipe

    launch = read_launch(accelerate_config, num_processes, cpu=cpu)
    loaded = load_recipe(recipe, overrides or (), allow_local_code=allow_local_code)
    finished = execute(
        loaded,
        cache=cache,
        runs=runs,
        start=start,
        until=until,
        launch=launch,
        command=_command(context.obj),
        say=lambda line: typer.echo(redact(line), err=True),
    )
    typer.echo()
    print_blocks(closing_blocks(finished.path))


def _command(typed: Sequence[str]) -> str:
    """What was typed, so that it can be typed again; without --from, which would do work again that
    is done.
    """
    words: list[str] = []
    rest = iter(typed)
    for word in rest:
        if word == "--from":
            next(rest, None)
        elif not word.startswith("--from="):
            words.append(word)
    return shlex.join(["recipekit", *words])
