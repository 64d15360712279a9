"""`recipekit`: the verbs, and how a command ends.

A verb is a module here that has something of its own name: a function, or a `typer.Typer` with
verbs below it. Only the verb that is called is imported, so that `recipekit --help` needs neither
pydantic nor torch. To add one, add a line to `VERBS`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Final

import typer

from recipekit import __version__
from recipekit.errors import NO_SPACE, RecipeError, RecipekitError

__all__ = ["VERBS", "app_for", "invoke", "main"]

VERBS: Final = {
    "init": "Write a commented recipe that runs.",
    "validate": "Check recipes: every mistake at once, with its place.",
    "fill": "Print a recipe with every default written out.",
    "plan": "Show what a run would do, and why.",
    "judge": "Try the judges, or draw pairs for people to label.",
    "run": "Execute a recipe.",
    "keys": "Show the keys of a recipe and its sections.",
    "components": "List what recipes can name, or describe one component.",
    "schema": "Print the JSON Schema of recipes, for editors.",
    "report": "Show the report of a run.",
    "cache": "List what the cache holds, or remove what no run needs.",
}
"""Every verb with its help, in the order of their use."""

EXIT_ERROR, EXIT_RECIPE, EXIT_INTERRUPTED, EXIT_PIPE = 1, 2, 130, 141
INTERRUPTED: Final = "RK606"
"""The code of a run that was interrupted, which says how to go on."""


def main() -> None:
    """Run the command line, and end with 0, or 1 for an error, 2 for a wrong recipe or command, 130
    when interrupted.
    """
    for descriptor, stream in ((1, "stdout"), (2, "stderr")):
        if (
            getattr(sys, stream) is None
        ):  # closed by whoever started us: no file that is opened, here or in a stage, may take its place
            _silence(descriptor)
            setattr(sys, stream, open(descriptor, "w", closefd=False))
    sys.exit(invoke(sys.argv[1:]))


def invoke(args: Sequence[str]) -> int:
    """Run a command and return its exit code; what went wrong stands on stderr."""
    try:
        app_for(args)(args=list(args), prog_name="recipekit", obj=list(args))
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else EXIT_ERROR
        if code == EXIT_INTERRUPTED:
            _complain("Interrupted.")
        return _flushed(code)
    except RecipekitError as error:
        if error.code == INTERRUPTED and sys.stderr.isatty():
            _complain("")  # after the ^C, or what was left of a live line
        _complain(_redacted(str(error)))
        return (
            EXIT_RECIPE
            if isinstance(error, RecipeError)
            else EXIT_INTERRUPTED
            if error.code == INTERRUPTED
            else EXIT_ERROR
        )
    except KeyboardInterrupt:
        _complain("Interrupted.")
        return EXIT_INTERRUPTED
    except OSError as error:
        return _not_written(error)
    return _flushed(0)


def _flushed(code: int) -> int:
    # What is left in the buffer is written here, where a reader that went away does no harm.
    try:
        sys.stdout.flush()
    except OSError as error:
        return _not_written(error)
    return code


def _not_written(error: OSError) -> int:
    """End where output went to nobody or to a full disk; what else the system refused goes on as it
    is.
    """
    if error.errno in NO_SPACE:
        _complain(f"{f'{error.filename}: ' if error.filename else ''}no space left on the disk")
    elif not isinstance(error, BrokenPipeError):
        raise error
    _silence(sys.stdout.fileno())  # Python must not try again at its exit
    _silence(sys.stderr.fileno())
    return EXIT_PIPE if isinstance(error, BrokenPipeError) else EXIT_ERROR


def _complain(text: str) -> None:
    """A line on stderr, if it can be had there: how the command ends does not depend on it."""
    with suppress(OSError):
        typer.echo(text, err=True)


def _silence(descriptor: int) -> None:
    """Let what is written to a descriptor go nowhere, in the processes that we start, too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    os.set_inheritable(descriptor, True)


def _redacted(text: str) -> str:
    # An error from before any recipe was read has nothing to hide, and this import would cost it
    # pydantic.
    environment = sys.modules.get("recipekit.recipe.environment")
    return str(environment.redact(text)) if environment else text


def app_for(args: Sequence[str]) -> typer.Typer:
    """The command line, with the verb imported that `args` call; the others are known by name and
    help.
    """
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_recipekit)
    called = next((arg for arg in args if not arg.startswith("-")), None)
    for name, help in VERBS.items():
        verb = (
            getattr(import_module(f"recipekit.cli.{name}"), name) if name == called else _not_called
        )
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name, help=help)
        else:
            app.command(name, short_help=help, help=help if verb is _not_called else None)(verb)
    return app


def _recipekit(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on)
        ),
    ] = False,
) -> None:
    """One YAML recipe in, a correctly labelled data set and a better text-embedding model out."""


def _version(on: bool) -> None:
    if on:
        typer.echo(f"recipekit {__version__}")
        raise typer.Exit


def _not_called() -> None:
    raise AssertionError("only the verb that is called is run")
