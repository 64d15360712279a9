"""The `recipekit` command: its subcommands, exit codes, and error messages.

A subcommand is a module of this package with a function, or a `typer.Typer`, of the same name, with
`_` for `-`. Only the called one is imported: `recipekit --help` needs neither pydantic nor torch.
To add a subcommand, add a line to `COMMANDS`.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from recipekit import __version__
from recipekit.cli.help import Command, CommandGroup
from recipekit.errors import NO_SPACE, RecipeError, RecipekitError
from recipekit.exit_statuses import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_PIPE,
    EXIT_TERMINATED,
    EXIT_USAGE,
)

__all__ = ["COMMANDS", "app_for", "invoke", "main"]

COMMANDS: Final = {
    "init": "Write a commented recipe that runs.",
    "recipes": "List the shipped recipes, or print one.",
    "validate": "Check recipes and report all errors at once.",
    "fill": "Print a recipe with every default written out.",
    "plan": "Show which stages will run, why, and the expected cost.",
    "judge": "Try the judges, or draw pairs for human labelling.",
    "run": "Run a recipe.",
    "lock": "Write down what a recipe's result depends on, or list what changed.",
    "share": "Write the baseline of a run, for others to repeat.",
    "reproduce": "Run a baseline again, and compare its figures.",
    "keys": "Show the keys of a recipe and its sections.",
    "components": "List components, or describe one.",
    "new-plugin": "Write a package with a component of your own, to start from.",
    "schema": "Print the JSON Schema of recipes, for editors.",
    "report": "Show the report of a run.",
    "runs": "List runs, or show what changed between two.",
    "compare": "Compare models, runs and baselines on the same data.",
    "search": "Show the best passages for a query, before and after training.",
    "cache": "List cached artifacts, or remove those that no run needs.",
}
"""Each subcommand with its help, in the order of use."""

INTERRUPTED: Final = ("RK606", "RK619")
"""The codes of the errors that a run raises after Ctrl-C and SIGTERM."""


def main() -> None:
    """Run the command line and exit.

    The exit status is 0; 1 after a failure; 2 if the command or the recipe is invalid; 130 after an
    interrupt; or 143 after SIGTERM.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    # A command's imports make hundreds of thousands of objects that live as long as it does, and
    # each collection would look at all of them again.
    gc.set_threshold(200_000, 30, 30)
    for descriptor, stream in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, stream) is None:
            # The caller closed this descriptor. The next file that is opened, here or in a stage,
            # would take its number and receive the output.
            _redirect_to_null(descriptor)
            setattr(sys, stream, open(descriptor, "w", closefd=False))
    status = invoke(sys.argv[1:])
    if "torch" not in sys.modules:  # with it, libraries report what is not collected as leaked
        gc.freeze()  # the interpreter's last collection would look at every object once more
    sys.exit(status)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C, and only once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(EXIT_TERMINATED)


def invoke(args: Sequence[str]) -> int:
    """Run a command and return its exit status; errors are printed to stderr."""
    # Pydantic would look for its own plugins in every installed distribution.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        app_for(args)(args=list(args), prog_name="recipekit", obj=list(args))
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else EXIT_ERROR
        if status == EXIT_INTERRUPTED:
            _print_error("Interrupted.")
        if status == EXIT_TERMINATED:
            _print_error("Terminated.")
        return _flush(status)
    except RecipekitError as error:
        if error.code in INTERRUPTED and sys.stderr.isatty():
            _print_error("")  # leave the line with the ^C or with a progress bar
        _print_error(_redacted(_with_codes(error)))
        return _error_as_json(error) if "--json" in args else _exit_status(error)
    except KeyboardInterrupt:
        _print_error("Interrupted.")
        return EXIT_INTERRUPTED
    except OSError as error:
        return _output_failed(error)
    return _flush(0)


def _with_codes(error: RecipekitError) -> str:
    """An error's message, with the code of each problem at the end of its line."""
    if isinstance(error, RecipeError):
        lines = [
            f"{problem} [{problem.code}]" if problem.where else str(problem)
            for problem in error.problems
        ]
        return "\n".join(lines)
    if error.code in INTERRUPTED:
        return error.message  # the user knows the reason, and can copy the command at its end
    first, newline, rest = error.message.partition("\n")
    return f"{first} [{error.code}]{newline}{rest}"


def _error_as_json(error: RecipekitError) -> int:
    """Print an error on stdout, as the last line, and return the exit status."""
    from recipekit.pipeline.run_events import error_event, json_line

    status = _exit_status(error)
    try:
        typer.echo(json_line("error", error_event(error)))
    except OSError as output_error:
        return _output_failed(output_error)
    return status


def _exit_status(error: RecipekitError) -> int:
    from recipekit.error_codes import exit_status

    return EXIT_USAGE if isinstance(error, RecipeError) else exit_status(error.code)


def _flush(status: int) -> int:
    """Write buffered output now, where a closed pipe or a full disk can be handled."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _output_failed(error)
    return status


def _output_failed(error: OSError) -> int:
    """The exit status after output went to a closed pipe or a full disk; raises other errors."""
    if error.errno in NO_SPACE:
        file = f"{error.filename}: " if error.filename else ""
        _print_error(f"{file}no space left on the disk")
    elif not isinstance(error, BrokenPipeError):
        raise error
    # Python flushes both streams when it exits, which would fail again.
    _redirect_to_null(sys.stdout.fileno())
    _redirect_to_null(sys.stderr.fileno())
    return EXIT_PIPE if isinstance(error, BrokenPipeError) else EXIT_ERROR


def _print_error(text: str) -> None:
    """Print to stderr if possible; the exit status does not depend on it."""
    with suppress(OSError):
        typer.echo(text, err=True)


def _redirect_to_null(descriptor: int) -> None:
    """Discard what is written to a descriptor, here and in child processes."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    os.set_inheritable(descriptor, True)


def _redacted(text: str) -> str:
    # Without this module no recipe was read, and importing it would import pydantic.
    environment = sys.modules.get("recipekit.recipe.environment")
    return str(environment.redact(text)) if environment else text


def app_for(args: Sequence[str]) -> typer.Typer:
    """The command line with the called subcommand imported; of the others it has name and help."""
    app = typer.Typer(
        cls=CommandGroup,
        add_completion=True,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_recipekit)
    called = next((arg for arg in _typed(args) if not arg.startswith("-")), None)
    for name, help in COMMANDS.items():
        if name != called:
            app.command(name, cls=Command, short_help=help, help=help)(_not_called)
            continue
        module = name.replace("-", "_")
        command = getattr(import_module(f"recipekit.cli.{module}"), module)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, help=help)
        else:
            app.command(name, cls=Command, short_help=help)(command)
    return app


def _typed(args: Sequence[str]) -> Sequence[str]:
    """The arguments, or those of the line that a shell wants completed."""
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS")
    if "_RECIPEKIT_COMPLETE" not in os.environ or not line:
        return args
    return line.split()[1:]


def _recipekit(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on)
        ),
    ] = False,
) -> None:
    """Turn one YAML recipe into a judged data set and a better text-embedding model."""


def _version(on: bool) -> None:
    if on:
        typer.echo(f"recipekit {__version__}")
        raise typer.Exit


def _not_called() -> None:
    raise AssertionError("only the called subcommand runs")
