"""Where `${env:NAME}` can be used: in fields of components that do not decide the result."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from recipekit.component import is_identity
from recipekit.recipe.environment import expand, has_placeholder, malformed, names
from recipekit.recipe.positions import Document, KeyPath
from recipekit.recipe.slots import field_at, model_in, slot_kind

__all__ = ["check_placeholders", "expand_fields", "refuse_placeholder"]

_Allowed = bool | type[BaseModel] | None
"""Whether placeholders are allowed in a value; a model whose fields decide; None for slots, whose
own components decide."""


def refuse_placeholder(document: Document, path: KeyPath) -> None:
    """Note a placeholder outside a component's fields."""
    message = "${env:NAME} is allowed in a component's urls, paths and credentials only"
    document.find(path, message, "RK108")


def check_placeholders(
    document: Document, value: Any, path: KeyPath = (), *, skip: Collection[KeyPath]
) -> None:
    """Note the placeholders outside components.

    Args:
        document: The recipe.
        value: What to search.
        path: The path of `value`.
        skip: Paths of the components, and of values that are not checked.
    """
    if path in skip:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            check_placeholders(document, item, (*path, key), skip=skip)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_placeholders(document, item, (*path, index), skip=skip)
    elif has_placeholder(value):
        refuse_placeholder(document, path)


def expand_fields(
    document: Document, path: KeyPath, model: type[BaseModel], fields: dict[str, Any]
) -> dict[str, Any]:
    """A component's fields with their placeholders replaced; those of its slots stay as written.

    Args:
        document: The recipe, which collects placeholders that are not allowed or have no value.
        path: The path of the component.
        model: The component's class.
        fields: The fields as written, without `use`.
    """
    return {
        key: _expanded(document, (*path, key), value, _allowed(model, key))
        for key, value in fields.items()
    }


def _allowed(model: type[BaseModel], key: str) -> _Allowed:
    field = field_at(model, (key,))
    if field is None:
        return True  # an unknown key is an error of its own
    if slot_kind(field):
        return None
    return not is_identity(field) or model_in(field.annotation) or False


def _expanded(document: Document, path: KeyPath, value: Any, allowed: _Allowed) -> Any:
    if allowed is None:
        return value
    if isinstance(value, dict):
        return {
            key: _expanded(document, (*path, key), item, _allowed_inside(allowed, key))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _expanded(document, (*path, index), item, allowed) for index, item in enumerate(value)
        ]
    if not has_placeholder(value):
        return value
    if allowed is not True:
        message = "${env:NAME} is not allowed here: this value decides the result, so write it out"
    elif wrong := malformed(value):
        message = f"'{wrong}' is not a placeholder: write ${{env:NAME}}"
    elif missing := [name for name in names(value) if name not in os.environ]:
        message = f"the environment variable {missing[0]} is not set"
    else:
        return expand(value)
    document.find(path, message, "RK108")
    return value


def _allowed_inside(allowed: _Allowed, key: str) -> _Allowed:
    """What is allowed below a key; in a map of models, the key is a name of the user's own."""
    if isinstance(allowed, type) and field_at(allowed, (key,)):
        return _allowed(allowed, key)
    return allowed
