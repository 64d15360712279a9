"""Where the recipe declares the file that an error is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from recipekit.errors import RecipekitError
from recipekit.recipe.load import where
from recipekit.recipe.positions import KeyPath
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots, models

__all__ = ["with_declaration"]


def with_declaration(
    recipe: Recipe, stage: str, section: BaseModel, error: RecipekitError
) -> RecipekitError:
    """Return an error about data that also names the recipe's line and key of the file.

    The first line gets the suffix `; declared at recipe.yaml:9:7: collect.sources.web.file`. An
    error that names none of the section's files is returned unchanged.
    """
    first, line_break, rest = error.message.partition("\n")
    named = [(len(str(file)), path) for path, file in _files(stage, section) if str(file) in first]
    if not named:
        return error
    longest = max(length for length, _ in named)
    path = next(path for length, path in named if length == longest)
    return error.with_message(
        f"{first.removesuffix('.')}; declared at {where(recipe, path)}{line_break}{rest}"
    )


def _files(stage: str, section: BaseModel) -> Iterator[tuple[KeyPath, Path]]:
    """Yield every path of a section and of its components, with its key."""
    holders: list[tuple[KeyPath, Any]] = [
        (path, value) for path, _, value in models(type(section), section, (stage,))
    ]
    holders += [(path, slot.spec) for path, slot in all_slots(section, (stage,))]
    for path, holder in holders:
        for name in type(holder).model_fields if isinstance(holder, BaseModel) else ():
            yield from _paths((*path, name), getattr(holder, name))


def _paths(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Path]]:
    if isinstance(value, Path):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _paths((*path, name), item)
