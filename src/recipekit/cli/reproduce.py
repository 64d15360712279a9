"""`recipekit reproduce`: run a baseline again, and compare its figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import LocalCode, Overrides, TrustRemoteCode

if TYPE_CHECKING:
    from recipekit.pipeline.run_events import RunEvent
    from recipekit.reproduce.drift import Drift
    from recipekit.reproduce.reproduction import Outcome

__all__ = ["reproduce"]

OPTION: Final = "--fresh-environment"


def reproduce(
    context: typer.Context,
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE",
            help="A folder, a .zip file, hf://OWNER/NAME, or a shipped recipe's name.",
        ),
    ],
    work: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to work in. Default: reproduced-NAME."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="Your copy of a file that is not included. Repeatable."
        ),
    ] = None,
    overrides: Overrides = None,
    num_processes: Annotated[
        int | None, typer.Option(help="Processes that encode and train.")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use no GPU.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run even if the bundle or its data was changed.")
    ] = False,
    fresh_environment: Annotated[
        bool,
        typer.Option(OPTION, help="Install the locked versions into DIR, and run there."),
    ] = False,
    allow_local_code: LocalCode = False,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Run a baseline in a fresh cache, and compare every figure with the published one.

    The exit status is 0 if all figures are within their tolerances, and otherwise 1. The same
    command resumes a reproduction that was interrupted.
    """
    if fresh_environment:
        raise typer.Exit(_in_fresh_environment(bundle, work, context.obj, force=force))
    from recipekit.pipeline.accelerate_config import read_launch
    from recipekit.reproduce.preparation import prepare
    from recipekit.reproduce.reproduction import reproduce as run

    launch = read_launch(None, num_processes, cpu=cpu)
    prepared = prepare(
        bundle,
        work,
        data=dict(map(_named, data or ())),
        overrides=overrides or (),
        cpu=launch.cpu,
        force=force,
        allowed={"allow_local_code": allow_local_code, "trust_remote_code": trust_remote_code},
    )
    _print_differences(prepared.differences)
    command = shlex.join(["recipekit", *context.obj])
    outcomes = run(prepared, launch=launch, on_event=_show, command=command, quiet=as_json)
    reproduced = all(outcome.is_within for outcome in outcomes)
    if as_json:
        differences = [vars(each) for each in prepared.differences]
        figures = [outcome.as_json() for outcome in outcomes]
        print_json({"reproduced": reproduced, "differences": differences, "figures": figures})
    else:
        _print_outcomes(outcomes)
        typer.echo(f"report: {prepared.report}")
    if not reproduced:
        raise typer.Exit(1)


def _print_differences(differences: Sequence[Drift]) -> None:
    """Print how this machine differs from the lock."""
    from recipekit.reproduce.drift import in_words

    for difference in in_words(differences):
        typer.echo(f"differs from the lock: {difference}", err=True)
    if any(difference.part == "versions" for difference in differences):
        typer.echo(f"to run with the locked versions, add {OPTION}", err=True)
    if not differences:
        typer.echo("data, versions and device are those of the lock", err=True)


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print every figure next to the published one, and how many are within their tolerances."""
    from recipekit.report.terminal import print_blocks
    from recipekit.reproduce.reproduction import outcomes_blocks

    typer.echo()
    print_blocks(outcomes_blocks(outcomes))
    within = sum(outcome.is_within for outcome in outcomes)
    bases = ", ".join(dict.fromkeys(outcome.basis for outcome in outcomes))
    typer.echo(f"{within} of {len(outcomes)} figures are within tolerance (tolerances: {bases})")


def _in_fresh_environment(
    bundle: str, work: Path | None, typed: Sequence[str], *, force: bool
) -> int:
    """Run the same command in a new environment with the locked versions."""
    from recipekit.reproduce.fresh_environment import make_environment, recipekit_in
    from recipekit.reproduce.lock import read_lock
    from recipekit.reproduce.preparation import check_published, copied_bundle

    copy, address, changed = copied_bundle(bundle, work)
    check_published(address, changed, (), force)  # a changed lock installs other packages
    lock = read_lock(copy.folder / "recipe.lock", copy.recipe)
    show_line = partial(typer.echo, err=True)
    python = make_environment(copy.folder / "environment", lock, show_line)
    # A branch of the Hub can move in between.
    words = [address if word == bundle else word for word in typed if word != OPTION]
    return recipekit_in(python, words)


def _named(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise typer.BadParameter(f"{text}: write NAME=FILE", param_hint="--data")
    return name, Path(file)


def _show(event: RunEvent) -> None:
    from recipekit.recipe.environment import redact

    if event.line:
        typer.echo(redact(event.line), err=True)
