"""`recipekit components`: the installed components, and the keys of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipekit.cli.completion import complete_component, complete_kind
from recipekit.cli.json_output import AsJson, print_json
from recipekit.cli.key_text import doc_of, key_lines
from recipekit.cli.options import KIND_HELP

if TYPE_CHECKING:
    from recipekit.component import Component
    from recipekit.registry import Entry
    from recipekit.report.blocks import Table

__all__ = ["components", "describe", "listing"]


def components(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help=KIND_HELP, autocompletion=complete_kind),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A component's name, or distribution/name.",
            autocompletion=complete_component,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the installed components, or describe one with its keys."""
    from recipekit.component import KINDS
    from recipekit.errors import ComponentError
    from recipekit.registry import find, group, resolve
    from recipekit.suggestions import did_you_mean

    kinds = list(KINDS)
    if kind is not None:
        singular = {group(known).removeprefix("recipekit."): known for known in kinds}.get(
            kind, kind
        )
        if singular not in kinds:
            hint = _kinds_of(kind) or did_you_mean(kind, kinds) or f" Kinds: {', '.join(kinds)}."
            raise ComponentError(f"unknown kind '{kind}'.{hint}", code="RK208")
        kinds = [singular]
    if name is not None:
        entry = resolve(kinds[0], name)
        if as_json:
            print_json(_with_schema(entry))
        else:
            typer.echo("\n".join(describe(entry)))
        return
    entries = [entry for known in kinds for entry in find(known)]
    if as_json:
        print_json([_values(entry) for entry in entries])
    else:
        from recipekit.report.terminal import print_blocks

        print_blocks([listing(entries)])


def _kinds_of(name: str) -> str:
    """The commands that describe the components with a name, as the end of a message."""
    from recipekit.component import KINDS
    from recipekit.registry import find

    kinds = [kind for kind in KINDS if any(name in (e.name, e.use) for e in find(kind))]
    commands = [f"recipekit components {kind} {name}" for kind in kinds]
    return f" To describe the component: {' or '.join(commands)}" if commands else ""


def listing(entries: Sequence[Entry]) -> Table:
    """A table of components with their distribution, source location and summary.

    A component that cannot be imported has the reason instead.
    """
    from recipekit.report.blocks import FilePath, Line, Table

    rows: list[list[Line]] = []
    for entry in entries:
        found = _values(entry)
        distribution = f"{found['distribution']} {found['version']}"
        location, summary = found["location"] or "broken", found["summary"] or found["error"]
        rows.append([entry.kind, entry.name, distribution, FilePath(location), summary])
    header = ["kind", "name", "distribution", "location", "summary"]
    return Table(header, rows, left=5)


def _values(entry: Entry) -> dict[str, Any]:
    """A component as JSON; without location and summary, but with an error, if it is broken."""
    from recipekit.errors import ComponentError
    from recipekit.registry import load

    location = summary = failed = None
    try:
        component = load(entry)
        location = _where(component)
        summary = doc_of(component).split("\n\n")[0].replace("\n", " ")
    except ComponentError as error:
        failed = error.message
    return {
        "kind": entry.kind,
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.distribution_version,
        "location": location,
        "summary": summary,
        "error": failed,
    }


def _with_schema(entry: Entry) -> dict[str, Any]:
    """A component with its whole description and the JSON Schema of its keys."""
    from recipekit.recipe.schema import component_schema
    from recipekit.registry import load

    component = load(entry)
    return {
        **_values(entry),
        "description": doc_of(component),
        "schema": component_schema(component),
    }


def describe(entry: Entry) -> Iterator[str]:
    """A component in full: whose it is, where it is written, what it does, and its keys.

    Raises:
        ComponentError: It cannot be imported.
    """
    from recipekit.registry import load

    component = load(entry)
    yield f"{entry.kind} {entry.name}"
    yield f"  distribution  {entry.distribution} {entry.distribution_version}"
    yield f"  written in    {_where(component)}"
    yield f"  class         {entry.target}"
    yield ""
    yield doc_of(component)
    yield ""
    yield from _keys(component)


def _keys(component: type[Component[Any]]) -> Iterator[str]:
    from recipekit.component import is_identity
    from recipekit.recipe.schema import component_schema

    info, own = component.model_fields, component.__annotations__
    free = {
        key: "; not part of the cache key, may hold ${env:NAME}"
        for key, field in info.items()
        if not is_identity(field)
    }
    yield from key_lines(component_schema(component), own=own, notes=free)


def _where(component: type[Component[Any]]) -> str:
    """`file:line`, from the current folder where the file is below it."""
    from recipekit.registry import where

    place = where(component)
    relative = os.path.relpath(place)
    return relative if not relative.startswith("..") else place
