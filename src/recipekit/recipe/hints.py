"""Suggestions for usual mistakes in a recipe."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from recipekit.component import Slot
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.slots import field_at, is_map, kind_at, model_at, model_in, slot_kind
from recipekit.registry import find, load, resolve
from recipekit.suggestions import did_you_mean

__all__ = [
    "MissingName",
    "library_loss",
    "misnamed_use",
    "missing_name",
    "suggested_value",
    "without_brackets",
]

USE_SYNONYMS: Final = ("use", "uses", "type", "kind", "class", "component")
"""Keys that people write for `use`."""
LIBRARY_LOSS: Final = "sentence_transformers"
"""The loss that is one of sentence-transformers, by its class name."""
MAX_REPEATED: Final = 60
"""Characters; a longer text is not repeated in a suggestion."""


class MissingName(NamedTuple):
    """An item where a map of items by name belongs: `sources: {use: beir}`."""

    path: KeyPath
    """The path of the key that shows it."""
    advice: str


def missing_name(
    document: Document, model: type[BaseModel], path: KeyPath, error: KeyPath
) -> MissingName | None:
    """Find an item without a name on the way to an error.

    Args:
        document: The recipe.
        model: The model that was validated.
        path: The path of what it was validated on.
        error: The path of the error.
    """
    for depth in range(len(path) + 1, len(error)):
        field = field_at(model, error[len(path) : depth])
        value = at(document.value, error[:depth])
        item = model_in(field.annotation) if field and is_map(field.annotation) else None
        if field is None or item is None or not isinstance(value, dict):
            continue
        if item is Slot:
            found = _unnamed_component(slot_kind(field), value, error[:depth])
        else:
            found = _unnamed_section(item, value, error[:depth])
        if found:
            return found
    return None


def _unnamed_component(
    kind: str | None, value: dict[str, Any], path: KeyPath
) -> MissingName | None:
    """A component where a map of components belongs."""
    for key in USE_SYNONYMS:
        use = value.get(key)
        if isinstance(use, str) and (key == "use" or use in _names(kind)):
            advice = _below_a_name(path[-1], f"use: {_quoted(use)}") + _similar(kind, use)
            return MissingName((*path, key), advice)
    return None


def _unnamed_section(
    item: type[BaseModel], value: dict[str, Any], path: KeyPath
) -> MissingName | None:
    """A section with a component where a map of such sections belongs."""
    slots = _slot_fields(item)
    if not slots:
        return None
    first = slots[0]
    kind = kind_at(item, (first,))
    for key in (*slots, "use"):
        use = value.get(key)
        if isinstance(use, str) and (key in ("use", first) or use in _names(kind)):
            advice = _below_a_name(path[-1], f"{first}: {{use: {_quoted(use)}}}")
            return MissingName((*path, key), advice + _similar(kind, use))
        if isinstance(use, dict) and isinstance(use.get("use"), str):
            return MissingName((*path, key), _below_a_name(path[-1], f"{key}: ..."))
    return None


def _slot_fields(model: type[BaseModel]) -> list[str]:
    """The keys of a section that hold a component."""
    return [name for name, field in model.model_fields.items() if slot_kind(field)]


def _below_a_name(key: str | int, item: str) -> str:
    return f"a name of your own is missing above this: write {{{key}: {{NAME: {{{item}}}}}}}"


def _similar(kind: str | None, name: str) -> str:
    names = _names(kind)
    hint = "" if name in names else did_you_mean(name, names)
    return f".{hint}" if hint else ""


def suggested_value(
    value: Any, model: type[BaseModel], path: KeyPath, expected: str | None, error: str
) -> str:
    """What to write for a value of a wrong type, as the end of a message; empty if unknown.

    Args:
        value: The value.
        model: The model that was validated.
        path: The path of the value below it.
        expected: What was expected, in words.
        error: Pydantic's name of the error.
    """
    if isinstance(value, str):
        if kind := kind_at(model, path):
            return _suggested_component(kind, value)
        if section := model_at(model, path):
            fields = _slot_fields(section)
            holders = [key for key in fields if value in _names(kind_at(section, (key,)))]
            return f": write {{{holders[0]}: {{use: {value}}}}}" if holders else ""
    if isinstance(value, list):
        return _suggested_names(model, path) or without_brackets(value, expected)
    if isinstance(value, bool):
        return ""
    if error == "string_type" and isinstance(value, int | float):
        return ": quote it"
    is_item = isinstance(value, str | int | float) and value != ""
    if expected == "a list" and is_item and len(str(value)) <= MAX_REPEATED:
        return f": write [{_quoted(value) if isinstance(value, str) else value}]"
    return ""


def without_brackets(value: Any, expected: str | None) -> str:
    """What to write for a list of one item where that item belongs; empty for any other value.

    Args:
        value: The value.
        expected: What was expected, in words.
    """
    if not isinstance(value, list) or len(value) != 1 or len(str(value[0])) > MAX_REPEATED:
        return ""
    match value[0], expected:
        case dict(), "a map of keys":
            return ": leave out the brackets"
        case bool(item), "true or false":
            return f": write {str(item).lower()}"
        case bool(), _:
            return ""
        case (int() | float()) as item, "a number" | "a whole number":
            return f": write {item}"
        case str(item), "text" | "a path" if item:
            return f": write {_quoted(item)}"
    return ""


def _suggested_names(model: type[BaseModel], path: KeyPath) -> str:
    """What to write for a list where a map of components or sections belongs."""
    field = field_at(model, path)
    item = model_in(field.annotation) if field and is_map(field.annotation) else None
    if item is None:
        return ""
    keys = ["use"] if item is Slot else _slot_fields(item)
    content = f"{keys[0]}: ..." if keys else "..."
    return f": give each item a name of your own, {{{path[-1]}: {{NAME: {{{content}}}}}}}"


def _suggested_component(kind: str, text: str) -> str:
    """What to write for a component that is written as a text."""
    names = _names(kind)
    if not text or len(text) > MAX_REPEATED:
        return ""
    if text in names or ".py:" in text:
        return f": write {{use: {_quoted(text)}}}"
    if library_loss(kind, text):
        return f": write {_library_loss(text)}"
    if hint := did_you_mean(text, names):
        return f": write {{use: ...}}.{hint}"
    if kind == "encoder":  # a text is probably the encoder's model
        return f": write {{use: bi_encoder, model: {_quoted(text)}}}"
    return f": write {{use: ...}} with one of {', '.join(sorted({e.name for e in find(kind)}))}"


def library_loss(kind: str, name: str) -> str | None:
    """The message for a loss that is written by its class name in sentence-transformers.

    None if the library has no such loss. The reason is stated if the loss is not supported.
    """
    if kind != "loss":
        return None
    component = load(resolve(kind, f"recipekit/{LIBRARY_LOSS}"))
    try:
        component.model_validate({"loss": name})
    except ValidationError as error:
        reason = str(error.errors()[0]["ctx"]["error"])
        return f"unknown loss: {reason}" if reason.startswith(f"{name} is not supported") else None
    return f"unknown loss '{name}': write {_library_loss(name)}"


def _library_loss(name: str) -> str:
    return f"{{use: {LIBRARY_LOSS}, loss: {name}}}"


def misnamed_use(model: type[BaseModel], path: KeyPath, written: Any) -> str | None:
    """What to write if another key than `use` names a component; None if none does."""
    if not isinstance(written, dict):
        return None
    names = _names(kind_at(model, path))
    for key, value in written.items():
        if key in USE_SYNONYMS and isinstance(value, str) and value in names:
            return f"write 'use: {value}' for '{key}: {value}'"
    return None


def _names(kind: str | None) -> list[str]:
    """The values that `use:` can have for a kind."""
    return [name for entry in find(kind) for name in (entry.name, entry.use)] if kind else []


def _quoted(text: str) -> str:
    """A text as it is written inside { } and [ ]."""
    if re.fullmatch(r"[\w./:@+-]*[\w./@+-]", text):
        return text
    return json.dumps(text, ensure_ascii=False)
