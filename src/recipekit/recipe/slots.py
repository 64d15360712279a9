"""Where components stand in a recipe: a walk over the sections' models, the same for written and
for validated recipes.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recipekit.recipe.positions import KeyPath
from recipekit.recipe.sections import Slot, SlotKind

__all__ = [
    "field_at",
    "is_map",
    "items_of",
    "kind_at",
    "misshapen",
    "model_at",
    "model_in",
    "sections",
    "slot_kind",
    "slots",
    "union_members",
]


def slot_kind(field: FieldInfo) -> str | None:
    """The kind of component that a field holds, or None for a field of another sort."""

    def marked(annotation: Any) -> Iterator[SlotKind]:
        for part in get_args(annotation):
            if isinstance(part, SlotKind):
                yield part
            else:
                yield from marked(part)

    marks = [mark for mark in field.metadata if isinstance(mark, SlotKind)] or list(
        marked(field.annotation)
    )
    return marks[0].kind if marks else None


def union_members(annotation: Any) -> Iterator[Any]:
    """The types that an annotation admits, without `Annotated[...]` and None."""
    if get_origin(annotation) is Annotated:
        yield from union_members(get_args(annotation)[0])
    elif get_origin(annotation) in (typing.Union, types.UnionType):
        for member in get_args(annotation):
            yield from union_members(member)
    elif annotation is not type(None):
        yield annotation


def items_of(annotation: Any) -> Any:
    """The type of a map's values or a list's items; None for anything else."""
    if get_origin(annotation) not in (dict, Mapping, list, tuple):
        return None
    return next((item for item in reversed(get_args(annotation)) if item is not ...), None)


def _plain(annotation: Any) -> Any:
    """An annotation without `Annotated[...]` and `| None`."""
    members = list(union_members(annotation))
    return members[0] if len(members) == 1 else annotation


def is_map(annotation: Any) -> bool:
    """Whether an annotation is a map by names: `dict[Name, ...]`, perhaps optional."""
    return get_origin(_plain(annotation)) in (dict, Mapping)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model of a field, or of the items of a map or list of them."""
    plain = _plain(annotation)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return plain
    items = items_of(plain)
    return model_in(items) if items is not None else None


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model whose keys stand at a path below `model`, or None where there is another sort of
    value.
    """
    here: Any = model
    for part in path:
        plain = _plain(here)
        if (items := items_of(plain)) is not None:
            here = items
        elif (
            isinstance(plain, type) and issubclass(plain, BaseModel) and part in plain.model_fields
        ):
            here = plain.model_fields[str(part)].annotation
        else:
            return None
    plain = _plain(here)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None


def field_at(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field whose value stands at a path below `model`.

    None for an item of a map or list, and where there is none.
    """
    parent = model_at(model, path[:-1]) if path else None
    return parent.model_fields.get(str(path[-1])) if parent else None


def kind_at(model: type[BaseModel], path: KeyPath) -> str | None:
    """The kind of the component that stands at a path below `model`."""
    if model_at(model, path) is not Slot:
        return None
    field = field_at(model, path) or field_at(model, path[:-1])
    return slot_kind(field) if field else None


def _children(
    model: type[BaseModel], value: Any, path: KeyPath
) -> Iterator[tuple[KeyPath, FieldInfo, Any]]:
    """The fields of a section that are there, with maps by name opened: (path, field, value)."""
    for name, field in model.model_fields.items():
        child = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if child is None:
            continue
        if not is_map(field.annotation):
            yield (*path, name), field, child
        elif isinstance(child, Mapping):
            yield from (((*path, name, key), field, item) for key, item in child.items())


def slots(
    model: type[BaseModel], value: Any, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, str, Any]]:
    """Every component of a recipe, as (path, kind, what stands there), in order.

    Args:
        model: The model of `value`: `Recipe`, or a section.
        value: The recipe, validated or as it was written; where it is malformed, what can be found
            is.
        path: Where `value` stands.
    """
    for child_path, field, child in _children(model, value, path):
        kind = slot_kind(field)
        inner = model_in(field.annotation)
        if kind:
            yield child_path, kind, child
        elif inner and isinstance(child, Mapping | BaseModel):
            yield from slots(inner, child, child_path)


def misshapen(model: type[BaseModel], value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The maps by name, of components or of sections, of which it is not known what they hold: no
    maps, or items that are none.
    """
    for name, field in model.model_fields.items():
        child, inner = (
            value.get(name) if isinstance(value, Mapping) else None,
            model_in(field.annotation),
        )
        if child is None or inner is None:
            continue
        items = {(*path, name): child}
        if is_map(field.annotation):
            items = (
                {(*path, name, key): item for key, item in child.items()}
                if isinstance(child, Mapping)
                else items
            )
            if not isinstance(child, Mapping) or not all(
                isinstance(item, Mapping) for item in child.values()
            ):
                yield (*path, name)
                continue
        if inner is not Slot:
            for where, item in items.items():
                yield from misshapen(inner, item, where)


def sections(
    model: type[BaseModel], value: Any, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, type[BaseModel], Any]]:
    """Every section and nested section that is there, as (path, model, what stands there), the
    recipe itself first.
    """
    yield path, model, value
    for child_path, field, child in _children(model, value, path):
        inner = model_in(field.annotation)
        if inner and inner is not Slot and isinstance(child, Mapping | BaseModel):
            yield from sections(inner, child, child_path)
