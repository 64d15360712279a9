"""`recipekit report`: the report of a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["find_run", "report"]


def report(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, or a recipe's name for its newest run.", metavar="RUN"
        ),
    ],
    runs: Annotated[Path, typer.Option(help="The folder of the runs.")] = Path("runs"),
) -> None:
    """Print a run's report as Markdown.

    It is read from the artifacts on disk; report.md is written where it is missing.
    """
    from recipekit.report.render import render, write_report

    folder = find_run(run, runs)
    file = folder / "report.md"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
    else:
        text = render(folder)
        with suppress(OSError):  # it was asked for here; that it also stays there is a courtesy
            write_report(folder, text)
    typer.echo(text, nl=False)


def find_run(run: str, runs: Path) -> Path:
    """The folder that `run` means: a folder itself, or `<runs>/<recipe>/latest`.

    Raises:
        StoreError: There is neither.
    """
    from recipekit.errors import StoreError
    from recipekit.suggestions import did_you_mean

    named = runs / run / "latest"
    with suppress(OSError):  # of a name too long for a file
        if named.is_dir():
            return named
        if Path(run).is_dir():
            return Path(run)
    recipes = (
        sorted(folder.name for folder in runs.iterdir() if folder.is_dir()) if runs.is_dir() else []
    )
    if run in recipes:
        kept = sorted(folder.name for folder in (runs / run).iterdir() if folder.is_dir())
        newest = f" The newest that is there is {runs / run / kept[-1]}." if kept else ""
        gone = (
            f"what {named} leads to is not there any more"
            if named.is_symlink()
            else f"{named} is not there"
        )
        raise StoreError(f"no run '{run}': {gone}.{newest}", code="RK541")
    known = (
        f" There are runs of {', '.join(recipes)}."
        if recipes
        else f" No recipe was run yet: {runs} is not there."
    )
    raise StoreError(
        f"no run '{run}': it is no folder, and {named} is not there.{did_you_mean(run, recipes) or known}",
        code="RK541",
    )
