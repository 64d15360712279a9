"""What to write instead, where a slip in a recipe is a usual one."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from recipekit.component import Slot
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.slots import field_at, is_map, kind_at, model_at, model_in, slot_kind
from recipekit.registry import find
from recipekit.suggestions import did_you_mean

__all__ = ["Nameless", "instead", "nameless", "use_by_another_word"]

USE_WORDS: Final = ("use", "uses", "type", "kind", "class", "component")
"""What people write for `use`."""
LONG: Final = 60
"""Characters: a longer text is not repeated."""


class Nameless(NamedTuple):
    """A map that holds what belongs below a name of one's own: `sources: {use: beir}`."""

    path: KeyPath
    """Of the key by which it is known."""
    advice: str


def nameless(
    document: Document, model: type[BaseModel], path: KeyPath, where: KeyPath
) -> Nameless | None:
    """The map without names on the way to an error, if there is one.

    Args:
        document: The recipe.
        model: What was validated.
        path: Where that stands.
        where: Where the error is.
    """
    for depth in range(len(path) + 1, len(where)):
        value = at(document.value, where[:depth])
        field = field_at(model, where[len(path) : depth])
        item = model_in(field.annotation) if field and is_map(field.annotation) else None
        if field is None or item is None or not isinstance(value, dict):
            continue
        for key in _signs(item):
            found, holder = value.get(key), _holders(item)[0] if item is not Slot else ""
            kind = kind_at(item, (holder,)) if holder else slot_kind(field)
            if isinstance(found, str) and (key == "use" or key == holder or found in _names(kind)):
                meant = (
                    f"use: {_written(found)}"
                    if item is Slot
                    else f"{holder}: {{use: {_written(found)}}}"
                )
                return Nameless(
                    (*where[:depth], key),
                    f"{_below_a_name(where[depth - 1], meant)}{_misspelt(kind, found)}",
                )
            # A map below it may be what has this name, if it looks like an item.
            if item is not Slot and isinstance(found, dict) and isinstance(found.get("use"), str):
                return Nameless(
                    (*where[:depth], key), _below_a_name(where[depth - 1], f"{key}: ...")
                )
    return None


def _signs(item: type[BaseModel]) -> list[str]:
    """The keys that show that an item stands where a map of items belongs."""
    return [*USE_WORDS] if item is Slot else [*_holders(item), "use"] if _holders(item) else []


def _holders(item: type[BaseModel]) -> list[str]:
    """The keys of a section that hold a component."""
    return [name for name, field in item.model_fields.items() if slot_kind(field)]


def _below_a_name(key: str | int, item: str) -> str:
    return f"a name of your own comes before this: write {{{key}: {{NAME: {{{item}}}}}}}"


def _misspelt(kind: str | None, text: str) -> str:
    meant = "" if text in _names(kind) else did_you_mean(text, _names(kind))
    return f".{meant}" if meant else ""


def instead(
    value: Any, model: type[BaseModel], path: KeyPath, expected: str | None, kind: str
) -> str:
    """What to write for a value of a wrong type; nothing where that is not to be guessed.

    Args:
        value: What stands there.
        model: What was validated.
        path: Where it stands in that.
        expected: What was expected, in words.
        kind: Pydantic's name of the error.
    """
    if isinstance(value, str) and (component := kind_at(model, path)):
        return _component_meant(component, value)
    if isinstance(value, str) and (section := model_at(model, path)):
        around = [key for key in _holders(section) if value in _names(kind_at(section, (key,)))]
        return f": write {{{around[0]}: {{use: {value}}}}}" if around else ""
    if (
        isinstance(value, list)
        and (field := field_at(model, path))
        and is_map(field.annotation)
        and (item := model_in(field.annotation))
    ):
        holders = ["use"] if item is Slot else _holders(item)
        return f": give each a name of your own, {{{path[-1]}: {{NAME: {{{f'{holders[0]}: ' if holders else ''}...}}}}}}"
    if isinstance(value, bool):
        return ""
    if kind == "string_type" and isinstance(value, int | float):
        return ": quote it"
    if (
        expected == "a list"
        and isinstance(value, str | int | float)
        and value != ""
        and len(str(value)) <= LONG
    ):
        return f": write [{_written(value) if isinstance(value, str) else value}]"
    return ""


def _component_meant(kind: str, text: str) -> str:
    """What to write for a component that stands as a text."""
    names = _names(kind)
    if not text or len(text) > LONG:
        return ""
    if text in names or ".py:" in text:
        return f": write {{use: {_written(text)}}}"
    if meant := did_you_mean(text, names):
        return f": write {{use: ...}}.{meant}"
    if kind == "encoder":  # who writes a text for an encoder means its model
        return f": write {{use: bi_encoder, model: {_written(text)}}}"
    return f": write {{use: ...}} with one of {', '.join(sorted({entry.name for entry in find(kind)}))}"


def use_by_another_word(model: type[BaseModel], path: KeyPath, written: Any) -> str | None:
    """What to write where `use` is missing from what stands at a path, and another key names a
    component; None where none does.
    """
    names = _names(kind_at(model, path))
    for key, value in written.items() if isinstance(written, dict) else ():
        if key in USE_WORDS and isinstance(value, str) and value in names:
            return f"write 'use: {value}' for '{key}: {value}'"
    return None


def _names(kind: str | None) -> list[str]:
    """What may stand behind `use:` for a component of a kind."""
    return [name for entry in find(kind) for name in (entry.name, entry.use)] if kind else []


def _written(text: str) -> str:
    """A text as it can stand inside { } and [ ]."""
    return (
        text
        if re.fullmatch(r"[\w./:@+-]*[\w./@+-]", text)
        else json.dumps(text, ensure_ascii=False)
    )
