"""`recipekit recipes`: list the shipped recipes, or print one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from recipekit.cli.completion import complete_shipped
from recipekit.cli.json_output import AsJson, print_json

__all__ = ["recipes", "summary_of"]


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A shipped recipe to print.", autocompletion=complete_shipped
        ),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option("--copy-to", metavar="FILE", help="Write the recipe to a new file instead."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes that come with recipekit, or print one, as a starting point.

    `recipekit run NAME` runs a shipped recipe. `recipekit reproduce NAME` repeats its baseline, the
    published figures, if it has one.
    """
    from recipekit.recipe.shipped import shipped
    from recipekit.suggestions import did_you_mean

    known = shipped()
    if name is None:
        if copy_to is not None:
            raise typer.BadParameter("needs the NAME of a recipe", param_hint="--copy-to")
        _list(known, as_json=as_json)
        return
    if name not in known:
        advice = did_you_mean(name, known) or f" Shipped recipes: {', '.join(known)}."
        raise typer.BadParameter(f"'{name}' is not a shipped recipe.{advice}", param_hint="NAME")
    text = _text(known[name])
    if copy_to is not None:
        _copy(text, copy_to)
    elif as_json:
        print_json({"name": name, "summary": summary_of(known[name]), "text": text})
    else:
        typer.echo(text, nl=False)


def _list(known: Mapping[str, Path], *, as_json: bool) -> None:
    from recipekit.recipe.shipped import shipped_baselines
    from recipekit.report.blocks import Table
    from recipekit.report.terminal import print_blocks

    published = shipped_baselines()
    summaries = {name: summary_of(file) for name, file in known.items()}
    if as_json:
        print_json(
            [
                {"name": name, "summary": summary, "baseline": name in published}
                for name, summary in summaries.items()
            ]
        )
        return
    rows = [
        [name, "yes" if name in published else "", summary] for name, summary in summaries.items()
    ]
    print_blocks([Table(["recipe", "baseline", "what it does"], rows, left=3)])


def _copy(text: str, copy_to: Path) -> None:
    from recipekit.errors import StoreError

    try:
        with copy_to.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise StoreError(f"{copy_to}: already exists", code="RK503") from error
    except OSError as error:
        raise StoreError(
            f"{copy_to}: cannot be written ({error.strerror})", code="RK502"
        ) from error
    typer.echo(f"wrote {copy_to}")


def summary_of(file: Path) -> str:
    """The first sentence of the comment at the start of a recipe."""
    words: list[str] = []
    for line in _text(file).splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("# ").split()
    return re.split(r"(?<=[.?!])\s", " ".join(words), maxsplit=1)[0]


def _text(file: Path) -> str:
    """A recipe without the line that names the schema, whose path is that of the checkout."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# yaml-language-server:"))
