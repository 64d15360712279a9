"""`recipekit new-plugin`: write the skeleton of a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipekit.cli.completion import complete_kind
from recipekit.cli.options import KIND_HELP

__all__ = ["new_plugin"]


def new_plugin(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The package's name, such as my-plugin.")
    ],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help=KIND_HELP, autocompletion=complete_kind)
    ] = "retriever",
) -> None:
    """Write a package with one component into a new folder, as a starting point.

    It has an entry point, a test with the conformance check, and a README. The component works: it
    is the example of its kind in docs/plugins.md.
    """
    from recipekit.component import KINDS
    from recipekit.errors import ComponentError, StoreError
    from recipekit.starter.plugin import name_error, plugin_files
    from recipekit.suggestions import did_you_mean

    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f" Kinds: {', '.join(KINDS)}."
        raise ComponentError(f"unknown kind '{kind}'.{hint}", code="RK208")
    if wrong := name_error(name):
        raise ComponentError(f"a plugin cannot be called '{name}': {wrong}", code="RK212")
    folder = Path(name)
    if folder.exists() or folder.is_symlink():
        raise StoreError(f"{folder}: already exists; choose another name", code="RK503")
    try:
        for path, text in plugin_files(name, kind).items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        where = error.filename or folder
        raise StoreError(f"{where}: cannot be written ({error.strerror})", code="RK502") from error
    module = f"{name}/src/{name.replace('-', '_')}/{kind}.py"
    typer.echo(f"wrote {folder}: the {kind} is in {module}")
    typer.echo(f"next: pip install --editable ./{name}, then pytest {name}")
