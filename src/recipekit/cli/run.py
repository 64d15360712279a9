"""`recipekit run`: run a recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipekit.cli.options import (
    DEFAULT_RECIPE,
    Cache,
    From,
    LocalCode,
    Overrides,
    RecipeArgument,
    Runs,
    TrustRemoteCode,
    Until,
)

if TYPE_CHECKING:
    from recipekit.pipeline.run_events import Output, RunEvent

__all__ = ["run"]


def run(
    context: typer.Context,
    recipe: RecipeArgument = DEFAULT_RECIPE,
    overrides: Overrides = None,
    start: From = None,
    until: Until = None,
    export_to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Copy the exports to a new folder, or replace those in it."
        ),
    ] = None,
    cache: Cache = None,
    runs: Runs = None,
    accelerate_config: Annotated[
        Path | None, typer.Option(help="An Accelerate configuration file. Default: the saved one.")
    ] = None,
    num_processes: Annotated[
        int | None,
        typer.Option(help="Processes that encode and train. Overrides Accelerate's number."),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use no GPU.")] = False,
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Stop if anything differs from the recipe's lock."),
    ] = False,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
    tracker: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Log losses and dev values to tensorboard, wandb, …"),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print events as JSON, one object per line."),
    ] = False,
) -> None:
    """Run every stage of a recipe that is not cached, and write a report.

    Without RECIPE, run recipe.yaml in the current folder.

    The same command resumes a run that was interrupted.
    """
    from recipekit.pipeline.accelerate_config import read_launch
    from recipekit.pipeline.execute import run as execute
    from recipekit.pipeline.report import closing_blocks
    from recipekit.report.terminal import print_blocks
    from recipekit.stages.recipe import load_recipe

    output = _output(quiet=quiet, as_json=as_json)
    launch = read_launch(accelerate_config, num_processes, cpu=cpu)
    loaded = load_recipe(
        recipe,
        overrides or (),
        allow_local_code=allow_local_code,
        trust_remote_code=trust_remote_code,
    )
    check_dataset = None
    if locked:
        from recipekit.reproduce.locked_run import check_lock

        check_dataset = check_lock(loaded, cpu=launch.cpu)
    finished = execute(
        loaded,
        cache=cache,
        runs=runs,
        start=start,
        until=until,
        export_to=export_to,
        launch=launch,
        command=_command(context.obj),
        output=output,
        on_event=lambda event: _show(event, output),
        tracker=tracker,
        check_dataset=check_dataset,
    )
    if output == "text":
        typer.echo()
        print_blocks(closing_blocks(finished.path))


def _output(*, quiet: bool, as_json: bool) -> Output:
    if quiet and as_json:
        raise typer.BadParameter("excludes --json", param_hint="--quiet")
    if quiet:
        return "quiet"
    return "json" if as_json else "text"


def _show(event: RunEvent, output: Output) -> None:
    from recipekit.pipeline.run_events import json_line
    from recipekit.recipe.environment import redact

    if output == "json":
        typer.echo(json_line(event.name, event.fields))
    elif output == "text" and event.line:
        typer.echo(redact(event.line), err=True)


def _command(typed: Sequence[str]) -> str:
    """The command that resumes this run: as typed, without --from, which would repeat stages."""
    arguments: list[str] = []
    rest = iter(typed)
    for argument in rest:
        if argument == "--from":
            next(rest, None)
        elif not argument.startswith("--from="):
            arguments.append(argument)
    return shlex.join(["recipekit", *arguments])
