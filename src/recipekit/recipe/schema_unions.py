"""Unions in a JSON Schema, written so that an editor marks the key that is wrong.

An error inside an `anyOf` belongs to the value as a whole: a mistake in one phase would mark the
whole `train` section. So types are merged where their keywords do not conflict, and an optional
section applies its definition to every map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

__all__ = ["simplified_unions"]

Schema = dict[str, Any]

_EXPONENT: Final = r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"
"""Numbers such as `5e-5`, which an editor with YAML 1.1 reads as text."""
_ANY_TEXT: Final = {"type", "format", "minLength"}
"""The keywords of a schema that accepts placeholders and every other text that matters here."""
_NUMBERS: Final = {"number", "integer"}


def simplified_unions(schema: Any) -> Any:
    """Return a JSON Schema with as few `anyOf` as possible, which accepts the same recipes.

    Numbers also accept text such as `5e-5`.
    """
    return _everywhere(_with_exponents, _everywhere(_without_union, schema))


def _everywhere(change: Callable[[Schema], Schema], schema: Any) -> Any:
    """Change a schema and those inside it, the innermost first."""
    if isinstance(schema, list):
        return [_everywhere(change, part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return change({name: _everywhere(change, part) for name, part in schema.items()})


def _without_union(schema: Schema) -> Schema:
    members = schema.get("anyOf")
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        return schema
    about = {name: part for name, part in schema.items() if name != "anyOf"}
    return {**about, **_union(members)}


def _union(members: Sequence[Schema]) -> Schema:
    """Return the schema of what any of some schemas accepts."""
    texts = [member for member in members if list(_types(member)) == ["string"]]
    if any_text := [text for text in texts if set(text) <= _ANY_TEXT]:
        members = [member for member in members if member not in texts or member is any_text[0]]
    merged = _merged(members)
    if merged is not None:
        return merged
    scalars = [member for member in members if "$ref" not in member]
    references = [member for member in members if "$ref" in member]
    others = _merged(scalars) if scalars else {}
    if len(references) == 1 and others is not None:
        types = list(_types(others))
        if types and "object" not in types:
            return {
                "if": {"type": "object"},
                "then": references[0],
                "else": {**others, "type": ["object", *types]},
            }
    return {"anyOf": list(members)}


def _types(schema: Schema) -> Iterator[str]:
    """Yield the types that a schema accepts; none if it does not name them."""
    types = schema.get("type", [])
    yield from [types] if isinstance(types, str) else types


def _merged(members: Sequence[Schema]) -> Schema | None:
    """Merge schemas of different types, whose keywords apply to their own type only."""
    merged: Schema = {}
    types: list[str] = []
    for member in members:
        own = list(_types(member))
        keywords = {name: value for name, value in member.items() if name != "type"}
        overlap = set(types) & set(own) or set(merged) & set(keywords)
        if not own or overlap or {"$ref", "anyOf", "const", "if"} & set(keywords):
            return None
        types += own
        merged |= keywords
    if "enum" in merged:
        if set(types) - {"string", "null"} or any(
            "enum" not in member and member != {"type": "null"} for member in members
        ):
            return None  # `enum` applies to values of every type
        merged["enum"] = [*merged["enum"], *([None] if "null" in types else [])]
    return {**merged, "type": types[0] if len(types) == 1 else types}


def _with_exponents(schema: Schema) -> Schema:
    """Return a schema of numbers that also accepts text such as `5e-5`."""
    types = list(_types(schema))
    if not _NUMBERS & set(types) or "enum" in schema or "const" in schema:
        return schema
    if "string" not in types:
        advice = "Write a number, such as 10 or 5e-5."  # VS Code shows it in place of the pattern
        return {
            **schema,
            "type": [*types, "string"],
            "pattern": _EXPONENT,
            "patternErrorMessage": advice,
        }
    if "pattern" in schema:
        return {**schema, "pattern": f"{schema['pattern']}|{_EXPONENT}"}
    return schema
