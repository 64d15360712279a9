"""`recipekit report`: show the report of a run."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from recipekit.cli.completion import complete_run
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.options import DEFAULT_RECIPE, Runs

__all__ = ["report"]


def report(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder or id, or a recipe or its name for its latest run.",
            metavar="RUN",
            autocompletion=complete_run,
        ),
    ] = DEFAULT_RECIPE,
    runs: Runs = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open report.html in a web browser.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run's report: formatted on a terminal, as Markdown in a pipe or file.

    The report is read from the artifacts on disk. report.html and report.md are written if they
    are missing.
    """
    from recipekit.pipeline.find_run import find_run
    from recipekit.pipeline.report import read_blocks, render_report, report_values, write_report
    from recipekit.report.terminal import print_blocks

    if open_page and as_json:
        raise typer.BadParameter("excludes --json", param_hint="--open")
    folder = find_run(run, runs)
    if open_page:
        _open(folder / "report.html")
        return
    if as_json:
        print_json(report_values(folder))
        return
    file = folder / "report.md"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
    else:
        text = render_report(folder)
        with suppress(OSError):  # the report is printed even if the folder is read-only
            write_report(folder)
    if sys.stdout.isatty():
        print_blocks(read_blocks(folder))
    else:
        typer.echo(text, nl=False)


def _open(page: Path) -> None:
    """Show a report's page in a web browser, and print where it is."""
    import webbrowser

    from recipekit.pipeline.report import write_report

    if not page.is_file():
        write_report(page.parent)
    typer.echo(f"report: {page}")
    if not webbrowser.open(page.resolve().as_uri()):
        typer.echo("No web browser was found; open the file in one.", err=True)
