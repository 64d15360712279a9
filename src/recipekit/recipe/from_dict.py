"""Reads a recipe that a Python program gives as a dict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from recipekit.recipe.positions import Document, Finding, KeyPath, SourceLocation, refuse
from recipekit.recipe.read import MAX_DEPTH, read_text
from recipekit.yaml_format import dump

__all__ = ["NAME", "read_dict"]

NAME: Final = "recipe"
"""What messages call a recipe without a file."""
_PLACE: Final = SourceLocation((0, 0, 0), NAME)


def read_dict(recipe: Mapping[str, Any]) -> Document:
    """Read a recipe from a dict of plain values; messages have key paths and no lines.

    Paths count as texts, tuples as lists, and numbers of NumPy as numbers.

    Raises:
        RecipeError: A key is not text, or a value cannot be in a recipe.
    """
    text = dump(_plain(recipe, ()))
    document = read_text(text, NAME)
    findings = [
        Finding(_PLACE, finding.path, finding.message, finding.code)
        for finding in document.findings
    ]
    return Document(NAME, text, document.value, values={(): _PLACE}, findings=findings)


def _plain(value: Any, path: KeyPath) -> Any:
    if len(path) > MAX_DEPTH:
        raise _wrong(path[:1], f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise _wrong(path, f"the key {key!r} is not text")
        return {str(key): _plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, number)) for number, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(path, f"{value} is not a finite number")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    kind = type(value).__name__
    raise _wrong(path, f"expected a text, number, list or dict, found a value of type {kind}")


def _wrong(path: KeyPath, message: str) -> Exception:
    return refuse([Finding(_PLACE, path, message, "RK105")])
