"""Walks over the models of a recipe: its sections, its components, and what they contain.

The same walk works on a recipe as it was written (maps and lists, possibly malformed) and on a
validated one. A model is a section or a component; a slot is a field that holds a component.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recipekit.component import Slot, encoder_names, slot_type
from recipekit.recipe.positions import KeyPath

__all__ = [
    "all_slots",
    "encoders_in",
    "field_at",
    "is_map",
    "items_of",
    "kind_at",
    "misshapen",
    "model_at",
    "model_in",
    "models",
    "models_of",
    "slot_kind",
    "slots",
    "union_members",
]


# Annotations
# -----------


def union_members(annotation: Any) -> Iterator[Any]:
    """The types that an annotation admits, without `Annotated[...]` and None."""
    if get_origin(annotation) is Annotated:
        yield from union_members(get_args(annotation)[0])
    elif get_origin(annotation) in (typing.Union, types.UnionType):
        for member in get_args(annotation):
            yield from union_members(member)
    elif annotation is not type(None):
        yield annotation


def _plain(annotation: Any) -> Any:
    """An annotation without `Annotated[...]` and `| None`."""
    members = list(union_members(annotation))
    return members[0] if len(members) == 1 else annotation


def items_of(annotation: Any) -> Any:
    """The type of a map's values or a list's items; None for anything else."""
    if get_origin(annotation) not in (dict, Mapping, list, tuple):
        return None
    return next((item for item in reversed(get_args(annotation)) if item is not ...), None)


def is_map(annotation: Any) -> bool:
    """Whether an annotation is a map by names: `dict[Name, ...]`, perhaps optional."""
    return get_origin(_plain(annotation)) in (dict, Mapping)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model that an annotation is, perhaps optional."""
    plain = _plain(annotation)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model of a field, or of the items of a map or list of them."""
    items = items_of(_plain(annotation))
    return _model(annotation) if items is None else model_in(items)


def models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic models that an annotation mentions, in unions, maps and lists too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_of(part)


def slot_kind(field: FieldInfo) -> str | None:
    """The kind of the components that a field holds, or None for a field without slots."""
    found = slot_type(field)
    return found.kind if found else None


# Paths
# -----


def _field(model: type[BaseModel], key: str | int) -> FieldInfo | None:
    """The field of a model that a key of the YAML names."""
    for name, field in model.model_fields.items():
        if key == (field.alias or name):
            return field
    return None


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model at a path below `model`, or None if another sort of value belongs there."""
    here: Any = model
    for key in path:
        plain = _plain(here)
        if (items := items_of(plain)) is not None:
            here = items
        elif (parent := _model(plain)) and (field := _field(parent, key)):
            here = field.annotation
        else:
            return None
    return _model(here)


def field_at(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field at a path below `model`; None for an item of a map or list, or an unknown key."""
    parent = model_at(model, path[:-1]) if path else None
    return _field(parent, path[-1]) if parent else None


def kind_at(model: type[BaseModel], path: KeyPath) -> str | None:
    """The kind of the component that belongs at a path below `model`."""
    if model_at(model, path) is not Slot:
        return None
    depths = range(len(path), 0, -1)
    field = next((found for depth in depths if (found := field_at(model, path[:depth]))), None)
    return slot_kind(field) if field else None


# Values
# ------


@dataclass(frozen=True)
class _Nested:
    """A field that has components or models in it."""

    name: str
    key: str
    """The key of the YAML: the field's alias, or its name."""
    kind: str | None
    """The kind of its components; None for a field of models."""
    model: type[BaseModel] | None
    """The model of its values, or of the items of a map or list."""
    containers: tuple[bool, ...]
    """The maps (true) and lists (false) around each value, outermost first."""


@cache
def _nested(model: type[BaseModel]) -> tuple[_Nested, ...]:
    """The fields of a model that have components or models in them."""
    found = []
    for name, field in model.model_fields.items():
        kind, inner = slot_kind(field), model_in(field.annotation)
        if kind or inner:
            annotation, containers = field.annotation, []
            while (items := items_of(_plain(annotation))) is not None:
                containers.append(is_map(annotation))
                annotation = items
            nested = _Nested(name, field.alias or name, kind, inner, tuple(containers))
            found.append(nested)
    return tuple(found)


def _children(
    model: type[BaseModel], value: Any, path: KeyPath
) -> Iterator[tuple[KeyPath, _Nested, Any]]:
    """The components and models in a model's fields, each alone: (path, field, value)."""
    for field in _nested(model):
        if isinstance(value, Mapping):
            child = value.get(field.key)
        else:
            child = getattr(value, field.name, None)
        if child is not None:
            yield from _items((*path, field.key), field, field.containers, child)


def _items(
    path: KeyPath, field: _Nested, containers: tuple[bool, ...], value: Any
) -> Iterator[tuple[KeyPath, _Nested, Any]]:
    if not containers:
        yield path, field, value
    elif containers[0] and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _items((*path, key), field, containers[1:], item)
    elif not containers[0] and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _items((*path, index), field, containers[1:], item)


def models(
    model: type[BaseModel], value: Any, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, type[BaseModel], Any]]:
    """A model and every model inside it, as (path, model, value); slots are not entered.

    Args:
        model: The model of `value`: `Recipe`, a section or a component.
        value: As it was written, or validated.
        path: The path of `value`.
    """
    yield path, model, value
    for child_path, field, child in _children(model, value, path):
        if field.model and not field.kind and isinstance(child, Mapping | BaseModel):
            yield from models(field.model, child, child_path)


def slots(
    model: type[BaseModel], value: Any, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, str, Any]]:
    """Every slot of a model and of the models inside it, as (path, kind, value), in order.

    A value that was written can be anything; a validated one is a `Slot`. The slots of the
    components themselves are not among them: see `all_slots`.

    Args:
        model: The model of `value`: `Recipe`, a section or a component.
        value: As it was written, or validated.
        path: The path of `value`.
    """
    for child_path, field, child in _children(model, value, path):
        if field.kind:
            yield child_path, field.kind, child
        elif field.model and isinstance(child, Mapping | BaseModel):
            yield from slots(field.model, child, child_path)


def all_slots(value: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Slot[Any]]]:
    """Every slot below a validated model, at any depth: each before those of its component."""
    for child_path, _, slot in slots(type(value), value, path):
        if isinstance(slot, Slot):
            yield child_path, slot
            yield from all_slots(slot.spec, child_path)


def encoders_in(spec: BaseModel) -> list[str]:
    """The recipe's encoders that a component names, or a component inside it."""
    inside = [spec, *(slot.spec for _, slot in all_slots(spec))]
    return [name for each in inside for name in encoder_names(each)]


def misshapen(model: type[BaseModel], value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The maps by name that are not maps, or whose items are not maps.

    Their components and sections are unknown, so names that refer to them are not checked.
    """
    for name, field in model.model_fields.items():
        child = value.get(name) if isinstance(value, Mapping) else None
        inner = model_in(field.annotation)
        if child is None or inner is None:
            continue
        here = (*path, name)
        items = {here: child}
        if is_map(field.annotation):
            if not isinstance(child, Mapping) or not all(
                isinstance(item, Mapping) for item in child.values()
            ):
                yield here
                continue
            items = {(*here, key): item for key, item in child.items()}
        if inner is not Slot:
            for item_path, item in items.items():
                yield from misshapen(inner, item, item_path)
