"""`recipekit components`: what recipes can name, whose it is, and where it is written."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recipekit.component import Component
    from recipekit.registry import Entry

__all__ = ["components", "describe", "listing"]

WIDTH = 100


def components(
    kind: Annotated[str | None, typer.Argument(help="source, retriever, judge, encoder, loss, evaluator or exporter.")] = None,
    name: Annotated[str | None, typer.Argument(help="A component's name, or distribution/name.")] = None,
) -> None:
    """List what recipes can name, one a line; or describe one component: its keys, their types, defaults and meaning."""
    from recipekit.component import KINDS
    from recipekit.errors import ComponentError
    from recipekit.registry import find, group, resolve
    from recipekit.spelling import near

    kinds = list(KINDS)
    if kind is not None:
        singular = {group(known).removeprefix("recipekit."): known for known in kinds}.get(kind, kind)
        if singular not in kinds:
            raise ComponentError(f"unknown kind '{kind}'.{near(kind, kinds) or ' Kinds: ' + ', '.join(kinds) + '.'}", code="RK208")
        kinds = [singular]
    if name is not None:
        typer.echo("\n".join(describe(resolve(kinds[0], name))))
    else:
        typer.echo("\n".join(listing([entry for known in kinds for entry in find(known)])))


def listing(entries: Sequence[Entry]) -> Iterator[str]:
    """One line a component, in columns: kind, name, distribution and version, then place and summary, or why it is broken."""
    from recipekit.errors import ComponentError
    from recipekit.registry import load

    rows = []
    for entry in entries:
        try:
            component = load(entry)
            last = (_where(component), _doc(component).split("\n\n")[0].replace("\n", " "))
        except ComponentError as error:
            last = ("broken", error.message)
        rows.append((entry.kind, entry.name, f"{entry.distribution} {entry.distribution_version}", *last))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]])


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
    yield _doc(component)
    yield ""
    yield from _keys(component)


def _keys(component: type[Component]) -> Iterator[str]:
    from recipekit.component import is_identity
    from recipekit.recipe.schema import component_schema

    schema = component_schema(component)
    required = schema.get("required", [])
    fields = schema.get("properties", {})
    own = component.__annotations__
    # What must be said stands first, then the component's own keys, then those that it shares with others.
    for key in sorted(fields, key=lambda key: (key not in required, key not in own)):
        field = fields[key]
        default = "required" if key in required else f"default {_literal(field['default'])}" if "default" in field else "optional"
        info = component.model_fields.get(key)
        free = "; not part of the cache key, may hold ${env:NAME}" if info and not is_identity(info) else ""
        yield f"{key}: {type_text(field, schema.get('$defs', {}))} ({default}{free})"
        for paragraph in field.get("description", "").split("\n\n"):
            yield from textwrap.wrap(paragraph, WIDTH, initial_indent="    ", subsequent_indent="    ")
        yield from _inner_keys(field, schema.get("$defs", {}))


def _inner_keys(field: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """The keys of a map that has keys of its own, each in a line or two."""
    for part in (field, *field.get("anyOf", ())):
        inner = definitions.get(part.get("$ref", "").rpartition("/")[2], part)
        for key, value in inner.get("properties", {}).items():
            required = key in inner.get("required", [])
            default = "required" if required else f"default {_literal(value['default'])}" if "default" in value else "optional"
            line = f"{key}: {type_text(value, definitions)} ({default}). {value.get('description', '')}".replace("\n", " ").rstrip()
            yield from textwrap.wrap(line, WIDTH, initial_indent="      ", subsequent_indent="          ")


def type_text(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON Schema's type in words: `integer >= 1`, `rrf | score | union`, `list of text or null`."""
    if "$ref" in schema:
        return type_text(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    if "anyOf" in schema:
        parts = (type_text(part, definitions) for part in schema["anyOf"] if "env:" not in part.get("pattern", ""))
        return " or ".join(dict.fromkeys(parts))
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return " | ".join(map(str, choices))
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items")
        return f"list of {type_text(items, definitions)}" if items else "list"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"map to {type_text(values, definitions)}" if isinstance(values, dict) else "map"
    if kind == "string":
        return "path" if schema.get("format") in ("path", "file-path", "directory-path") else "text"
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return " ".join(
        [
            {"boolean": "true | false"}.get(str(kind), str(kind or "anything")),
            *(f"{s} {schema[n]}" for n, s in limits.items() if n in schema),
        ]
    )


def _literal(value: Any) -> str:
    from recipekit.recipe.dialect import dump

    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_literal(inner)}' for key, inner in value.items())}}}"
    return dump([value]).strip()[1:-1] if not isinstance(value, list) else dump(value).strip()


def _doc(component: type[Component]) -> str:
    return textwrap.dedent(" " * 4 + (component.__doc__ or "(no description)")).strip()


def _where(component: type[Component]) -> str:
    """`file:line`, from the current folder where the file is below it."""
    from recipekit.registry import where

    place = where(component)
    relative = os.path.relpath(place)
    return relative if not relative.startswith("..") else place
