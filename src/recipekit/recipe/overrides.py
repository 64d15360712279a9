"""`--set PATH=VALUE`: one value of a recipe, replaced or added from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipekit.errors import RecipeError
from recipekit.recipe.positions import Document, Finding, KeyPath, SourceLocation
from recipekit.recipe.read import read_text

__all__ = ["apply_overrides"]


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Apply overrides to a document, in order; mistakes in them join its findings.

    A path has the keys of maps and the indices of lists. Missing keys and sections are added; the
    validation decides later whether they are allowed, and its messages name the flag.
    """
    if not isinstance(document.value, dict):
        return
    for index, override in enumerate(overrides):
        place = SourceLocation.in_override(override, index)
        try:
            path, value = _parse(override)
            _put(document, path, value, place)
        except _OverrideError as error:
            document.add(Finding(place, error.path, str(error), "RK109"))


class _OverrideError(Exception):
    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path


def _parse(override: str) -> tuple[KeyPath, Any]:
    name, equals, text = override.partition("=")
    path = tuple(name.strip().split("."))
    if not equals:
        raise _OverrideError((), "write it as PATH=VALUE, as in train.batch_size=32")
    if not all(path):
        raise _OverrideError((), "the path before '=' has an empty part")
    if not text.strip():
        raise _OverrideError(
            path, "no value after '=': write null for no value, '' for an empty text"
        )
    if text.lstrip().startswith("#"):
        raise _OverrideError(path, "only a comment after '=': quote a text that starts with '#'")
    try:
        read = read_text(text, "")
    except RecipeError as error:
        raise _OverrideError(path, error.problems[0].message) from error
    if read.findings:
        raise _OverrideError(path, read.findings[0].message)
    return path, read.value


def _put(document: Document, path: KeyPath, value: Any, place: SourceLocation) -> None:
    """Set one value, and add the maps on the way; new keys get the location `place`."""
    holder = document.value
    for depth, part in enumerate(path):
        here, last = path[:depth], depth == len(path) - 1
        key: str | int = _index(holder, part, here) if isinstance(holder, list) else part
        path = (*here, key, *path[depth + 1 :])
        if not isinstance(holder, dict | list):
            raise _OverrideError(here, f"{_named(holder)} has no key '{part}'")
        known = key in holder if isinstance(holder, dict) else True
        if last:
            _forget(document, path)
            document.keys[path] = document.values[path] = place
            document.overridden.append(path)
            holder[key] = value  # type: ignore[index]
            return
        if not known or holder[key] is None:  # type: ignore[index]
            holder[key] = {}  # type: ignore[index]
            document.values[path[: depth + 1]] = place
            document.keys.setdefault(path[: depth + 1], place)
        holder = holder[key]  # type: ignore[index]


def _index(holder: list[Any], part: str | int, path: KeyPath) -> int:
    if not holder:
        raise _OverrideError(path, "the list is empty: set the whole list")
    if not (isinstance(part, str) and part.isdecimal() and int(part) < len(holder)):
        items = f"items 0 to {len(holder) - 1}" if len(holder) > 1 else "one item, 0"
        raise _OverrideError(
            path,
            f"the list has {items}, and no item '{part}'",
        )
    return int(part)


def _named(value: Any) -> str:
    return f"the text '{value}'" if isinstance(value, str) else f"the value {str(value).lower()}"


def _forget(document: Document, path: KeyPath) -> None:
    """Remove the locations of a value that is replaced."""
    for places in (document.keys, document.values):
        for known in [known for known in places if known[: len(path)] == path]:
            del places[known]
