"""A recipe with every default written out, which loads from any folder as an equal recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from recipekit.component import Slot
from recipekit.recipe.environment import expand, has_placeholder
from recipekit.recipe.positions import at
from recipekit.recipe.sections import Recipe
from recipekit.yaml_format import dump

__all__ = ["filled"]


def filled(recipe: Recipe) -> str:
    """Return the YAML of a recipe with every default written out, in the order of its sections.

    `${env:NAME}` is kept, local paths are absolute, and missing sections stay missing.
    """
    return dump(_section(recipe, recipe.origin.folder))


def _section(section: BaseModel, folder: Path) -> dict[str, Any]:
    """The keys of a section in order; missing sections of a recipe have no default to write."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    if isinstance(section, Recipe):
        values = {name: value for name, value in values.items() if value is not None}
    return {name: _value(value, folder) for name, value in values.items()}


def _value(value: Any, folder: Path) -> Any:
    if isinstance(value, Slot):
        return _component(value, folder)
    if isinstance(value, BaseModel):
        return _section(value, folder)
    if isinstance(value, Mapping):
        return {name: _value(item, folder) for name, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return [_value(item, folder) for item in value] if isinstance(value, tuple) else value


def _component(slot: Slot[Any], folder: Path) -> dict[str, Any]:
    spec, entry = slot.spec, slot.entry
    use = f"{entry.file}:{entry.name}" if entry.file else slot.use
    values = spec.model_dump(mode="json", by_alias=True, include=set(type(spec).model_fields))
    fields = {
        (field.alias or name): getattr(spec, name)
        for name, field in type(spec).model_fields.items()
    }
    return {
        "use": use,
        **{
            key: _field(fields[key], value, slot.fields.get(key), folder)
            for key, value in values.items()
        },
    }


def _field(value: Any, plain: Any, raw: Any, folder: Path) -> Any:
    """A field of a component, in which components can be.

    Args:
        value: The validated value.
        plain: The same as JSON.
        raw: As it was written, or None.
        folder: Where the recipe's relative paths start.
    """
    if isinstance(value, Slot):
        return _component(value, folder)
    if isinstance(value, Mapping) and isinstance(plain, dict):
        items = {str(key): item for key, item in value.items()}
        return {key: _field(items[key], plain[key], at(raw, (key,)), folder) for key in plain}
    if isinstance(value, tuple | list) and isinstance(plain, list):
        pairs = enumerate(zip(value, plain, strict=True))
        return [_field(item, as_json, at(raw, (i,)), folder) for i, (item, as_json) in pairs]
    if isinstance(value, BaseModel) and isinstance(plain, dict):
        infos = type(value).model_fields
        inner = {infos[name].alias or name: getattr(value, name) for name in infos}
        return {key: _field(inner[key], plain[key], at(raw, (key,)), folder) for key in plain}
    return _written(plain, raw, folder)


def _written(value: Any, raw: Any, folder: Path) -> Any:
    """A field's value with its placeholders; a value from the environment is never written.

    Args:
        value: The validated value.
        raw: The value as written, or None.
        folder: Where the recipe's relative paths start.
    """
    if not has_placeholder(raw):
        return value
    if isinstance(raw, dict) and isinstance(value, dict):
        return {name: _written(item, raw.get(name), folder) for name, item in value.items()}
    if isinstance(raw, list) and isinstance(value, list) and len(raw) == len(value):
        return [_written(item, written, folder) for item, written in zip(value, raw, strict=True)]
    if isinstance(raw, str) and isinstance(value, str):
        plain = expand(raw)
        if (
            value != plain
            and value == os.path.abspath(folder / Path(plain).expanduser())
            and not os.path.isabs(os.path.expanduser(plain))
        ):
            return f"{folder}/{raw}"  # relative to the recipe, not to the copy
    return raw
