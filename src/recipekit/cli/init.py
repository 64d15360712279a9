"""`recipekit init`: write a first recipe."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["init"]


class Source(StrEnum):
    """The sources that a first recipe can have."""

    python_code = "python_code"
    pairs = "pairs"
    beir = "beir"


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("recipe.yaml"),
    source: Annotated[Source, typer.Option(help="The kind of source.")] = Source.python_code,
    data: Annotated[
        Path | None, typer.Option(help="The file or folder that contains the data.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented recipe that runs, as a starting point."""
    from recipekit.errors import StoreError
    from recipekit.recipe.template import starter

    if path.is_dir():
        raise StoreError(
            f"{path}: is a folder; name a file, such as {path / 'recipe.yaml'}",
            code="RK502",
        )
    relative = None if data is None else os.path.relpath(data.expanduser(), path.parent)
    text = starter(
        source.value, relative, path.absolute().parent.name if path.stem == "recipe" else path.stem
    )
    if path.exists() and not force:
        raise StoreError(f"{path}: already exists; --force replaces it", code="RK503")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except (FileExistsError, NotADirectoryError) as error:
        why = "it is a broken link" if path.is_symlink() else f"{path.parent} is not a folder"
        raise StoreError(f"{path}: cannot be written ({why})", code="RK502") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})", code="RK502") from error
    if data is not None and not data.expanduser().exists():
        typer.echo(f"note: {data} does not exist yet", err=True)
    typer.echo(f"wrote {path}; run it with: recipekit run {path}")
