"""Where the recipe declares the file or the component that an error of a stage is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from recipekit.component import Slot
from recipekit.errors import RecipekitError
from recipekit.recipe.load import where
from recipekit.recipe.positions import KeyPath, dotted
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots, models

__all__ = ["paths_in", "with_declaration", "with_location"]

FILE: Final = "file"
"""The key of a component that names its table."""
MISSING_COLUMN: Final = re.compile(r"no column '.*?' for `(?P<key>\w+)`")
"""The message of `recipekit.table_file.missing_column`."""
LOCATED: Final = re.compile(r":\d+:\d+: $")
"""The end of a source location before a path."""


def with_declaration(
    recipe: Recipe, stage: str, section: BaseModel, error: RecipekitError
) -> RecipekitError:
    """Return an error about data that also names the recipe's line and key of the file.

    The first line gets the suffix `; declared at recipe.yaml:9:7: collect.sources.web.file`. For a
    column that is missing, it is the key that names the column. An error that names none of the
    section's files is returned unchanged.
    """
    first, line_break, rest = error.message.partition("\n")
    named = [(len(str(file)), path) for path, file in _files(stage, section) if str(file) in first]
    if not named:
        return error
    longest = max(length for length, _ in named)
    path = next(path for length, path in named if length == longest)
    if path[-1] == FILE and (column := MISSING_COLUMN.search(first)):
        path = (*path[:-1], column["key"])
    return error.with_message(
        f"{first.removesuffix('.')}; declared at {where(recipe, path)}{line_break}{rest}"
    )


def with_location(recipe: Recipe, error: RecipekitError) -> RecipekitError:
    """Return an error that names a component by its path with the component's source location.

    `train.phases.a.loss: …` becomes `recipe.yaml:9:7: train.phases.a.loss: …`. An error that names
    no component, or has a location, is returned unchanged.
    """
    first, line_break, rest = error.message.partition("\n")
    paths = {dotted(path): path for path, _ in all_slots(recipe)}
    for text in sorted(paths, key=len, reverse=True):
        found = re.search(rf"(?:^|: ){re.escape(text)}(?=[: ])", first)
        if found is None:
            continue
        start = found.end() - len(text)
        if LOCATED.search(first[:start]):
            return error
        located = f"{first[:start]}{where(recipe, paths[text])}{first[found.end() :]}"
        return error.with_message(f"{located}{line_break}{rest}")
    return error


def _files(stage: str, section: BaseModel) -> Iterator[tuple[KeyPath, Path]]:
    """Yield every path of a section and of its components, with its key."""
    holders: list[tuple[KeyPath, Any]] = [
        (path, value) for path, _, value in models(type(section), section, (stage,))
    ]
    holders += [(path, slot.spec) for path, slot in all_slots(section, (stage,))]
    for path, holder in holders:
        yield from paths_in(path, holder)


def paths_in(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Path]]:
    """Yield every path in a section or component, with its key; other components are left out."""
    if isinstance(value, Path):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from paths_in((*path, name), item)
    elif isinstance(value, BaseModel) and not isinstance(value, Slot):
        for name, field in type(value).model_fields.items():
            yield from paths_in((*path, field.alias or name), getattr(value, name))
