"""How messages name the local files of a recipe: by the key that names each, and its path.

Identities and locks have a file under its component and what it is there, such as
`collect.sources.own.pairs.csv`, so that a file can be renamed. No file need have this name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recipekit.component import Component
from recipekit.encoding.named_model import NamedModel
from recipekit.pipeline.declared_files import paths_in
from recipekit.recipe.positions import KeyPath, dotted
from recipekit.recipe.sections import Recipe
from recipekit.recipe.slots import all_slots
from recipekit.report.paths import path_from_here

__all__ = ["NamedFile", "named_files"]


@dataclass(frozen=True)
class NamedFile:
    """A local file or folder of a recipe."""

    key: str
    """The recipe's key: `collect.sources.own.file`."""
    path: str
    """Where it is, relative to the recipe's folder or the current one if it is in it."""

    def __str__(self) -> str:
        return f"{self.key} ({self.path})"


def named_files(recipe: Recipe) -> dict[str, NamedFile]:
    """Return the files that the components of a recipe name, by their path in a lock.

    Files that no key names, such as those of the standard library, are left out.
    """
    folder = recipe.origin.folder
    return {
        f"{dotted(path)}.{label.replace('..', '.')}": NamedFile(dotted(key), _shown(file, folder))
        for path, slot in all_slots(recipe)
        for label, key, file in _files(path, slot.spec)
    }


def _files(path: KeyPath, spec: Component[object]) -> Iterator[tuple[str, KeyPath, str]]:
    """Yield the files of a component: label, key, and path or package."""
    stated = [(key, file) for key, file in paths_in(path, spec) if file.is_absolute()]
    for label, file in spec.files().items():
        if isinstance(spec, NamedModel) and label in type(spec).model_fields:
            yield label, (*path, label), str(getattr(spec, label))
            continue
        for key, own in stated:
            if file == own or own in file.parents:
                yield label, key, str(file)
                break


def _shown(file: str, folder: Path) -> str:
    if not os.path.isabs(file):
        return file
    path = Path(file)
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path_from_here(path))
