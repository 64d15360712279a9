"""Keys of a component or a section in words: type, default and meaning, from a JSON Schema."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__ = ["doc_of", "key_lines"]

WIDTH = 100
Schema = Mapping[str, Any]


def key_lines(
    schema: Schema, *, own: Collection[str] = (), notes: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Every key with its type, default and meaning, and the keys below it.

    Args:
        schema: The JSON Schema of the model.
        own: Keys to list right after the required ones.
        notes: Texts to add to the defaults, by key.
    """
    required, definitions = schema.get("required", []), schema.get("$defs", {})
    fields = schema.get("properties", {})
    for key in sorted(fields, key=lambda key: (key not in required, key not in own)):
        field = fields[key]
        inner = list(_inner(field, definitions))
        default = (
            "optional"
            if inner and isinstance(field.get("default"), dict)
            else _default(key, field, required)
        )
        yield f"{key}: {type_text(field, definitions)} ({default}{(notes or {}).get(key, '')})"
        for paragraph in (
            field.get("description")
            or next((part["description"] for part in inner if "description" in part), "")
        ).split("\n\n"):
            yield from textwrap.wrap(
                paragraph, WIDTH, initial_indent="    ", subsequent_indent="    "
            )
        for part in inner:
            yield from _inner_keys(part, definitions)


def doc_of(model: type) -> str:
    """Return the docstring of a class, without its indentation."""
    return inspect.cleandoc(model.__doc__ or "(no description)")


def _inner(field: Schema, definitions: Schema) -> Iterator[Schema]:
    """The parts of a field's schema that have keys of their own."""
    for part in (field, *field.get("anyOf", ()), *_values(field)):
        inner = definitions.get(part.get("$ref", "").rpartition("/")[2], part)
        if inner.get("properties"):
            yield inner


def _inner_keys(inner: Schema, definitions: Schema) -> Iterator[str]:
    """The keys below a key, one paragraph each."""
    for key, value in inner["properties"].items():
        default = _default(key, value, inner.get("required", []))
        text = f"{key}: {type_text(value, definitions)} ({default})."
        line = " ".join(f"{text} {value.get('description', '')}".split())
        yield from textwrap.wrap(
            line, WIDTH, initial_indent="      ", subsequent_indent="          "
        )


def _default(key: str, field: Schema, required: Collection[str]) -> str:
    return (
        "required"
        if key in required
        else f"default {_literal(field['default'])}"
        if "default" in field
        else "optional"
    )


def _values(schema: Schema) -> Iterator[Schema]:
    """The schema of a map's values, if they share one."""
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        yield values
    yield from schema.get("patternProperties", {}).values()


def type_text(schema: Schema, definitions: Schema) -> str:
    """Return a JSON Schema's type in words: `integer >= 1`, `rrf | score`, `list of text`."""
    if "$ref" in schema:
        return type_text(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    if "anyOf" in schema:
        parts = (
            type_text(part, definitions)
            for part in schema["anyOf"]
            if "env:" not in part.get("pattern", "")
        )
        return " or ".join(dict.fromkeys(parts))
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return " | ".join(map(str, choices))
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items")
        return f"list of {type_text(items, definitions)}" if items else "list"
    if kind == "object":
        return next(
            (f"map to {type_text(values, definitions)}" for values in _values(schema)),
            schema.get("component", "map"),
        )
    if kind == "string":
        return "path" if schema.get("format") in ("path", "file-path", "directory-path") else "text"
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    name = "true | false" if kind == "boolean" else str(kind or "anything")
    bounds = [f"{sign} {_number(schema[key])}" for key, sign in limits.items() if key in schema]
    return f"{name} {', '.join(bounds)}".rstrip()


def _number(value: float) -> str:
    """A limit, without a decimal point where it is whole."""
    return str(int(value) if value == int(value) else value)


def _literal(value: Any) -> str:
    from recipekit.yaml_format import dump

    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_literal(inner)}' for key, inner in value.items())}}}"
    return dump([value]).strip()[1:-1] if not isinstance(value, list) else dump(value).strip()
