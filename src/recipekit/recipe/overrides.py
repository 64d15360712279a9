"""`--set PATH=VALUE`: one value of a recipe, replaced or added from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recipekit.errors import RecipeError
from recipekit.recipe.positions import Document, Finding, KeyPath, SourceLocation
from recipekit.recipe.read import read_text

__all__ = ["apply_overrides"]


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Apply overrides in their order to a document; what is wrong with them joins its findings.

    A path goes through maps by key and through lists by number. Keys and sections that are not
    there are added; whether they may be there is for the validation to say, which will then name
    the flag.
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
            path, "nothing stands behind '=': write null for no value, '' for an empty text"
        )
    if text.lstrip().startswith("#"):
        raise _OverrideError(
            path, "nothing stands behind '=' but a comment: quote a text that begins with '#'"
        )
    try:
        read = read_text(text, "")
    except RecipeError as error:
        raise _OverrideError(path, error.problems[0].message) from error
    if read.findings:
        raise _OverrideError(path, read.findings[0].message)
    return path, read.value


def _put(document: Document, path: KeyPath, value: Any, place: SourceLocation) -> None:
    """Set one value, making the maps on the way; everything that is new stands at `place`."""
    holder = document.value
    for depth, part in enumerate(path):
        here, last = path[:depth], depth == len(path) - 1
        key: str | int = _index(holder, part, here) if isinstance(holder, list) else part
        path = (*here, key, *path[depth + 1 :])
        if not isinstance(holder, dict | list):
            raise _OverrideError(here, f"is {_named(holder)}, which has no '{part}'")
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
        raise _OverrideError(path, "is an empty list: set the whole of it")
    if not (isinstance(part, str) and part.isdecimal() and int(part) < len(holder)):
        last = len(holder) - 1
        raise _OverrideError(
            path,
            f"is a list, whose items are 0 to {last}: it has no '{part}'"
            if last
            else "is a list, whose one item is 0",
        )
    return int(part)


def _named(value: Any) -> str:
    return f"the text '{value}'" if isinstance(value, str) else f"the value {str(value).lower()}"


def _forget(document: Document, path: KeyPath) -> None:
    """Drop the places of what is being replaced."""
    for places in (document.keys, document.values):
        for known in [known for known in places if known[: len(path)] == path]:
            del places[known]
