"""A recipe under validation, as checks across its sections see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from recipekit.component import Component
from recipekit.recipe.binding import Bound
from recipekit.recipe.positions import Document, KeyPath, at
from recipekit.recipe.sections import Recipe

__all__ = ["Draft"]


@dataclass(frozen=True)
class Draft:
    """A recipe as it was written, any part of which may be wrong."""

    document: Document
    model: type[Recipe]
    bound: Mapping[KeyPath, Bound]
    """The components that could be found, by path."""
    unclear: Collection[KeyPath]
    """Maps whose content is not known because they are malformed; checks say nothing about them."""

    @property
    def value(self) -> dict[str, Any]:
        """The recipe's keys; a section that is null is left out."""
        written: dict[str, Any] = self.document.value
        return {name: section for name, section in written.items() if section is not None}

    def at(self, *path: str | int) -> Any:
        """Return what is written at a path, or None."""
        return at(self.value, path)

    def mapping(self, *path: str | int) -> dict[str, Any]:
        """Return the map that is written at a path; empty where there is none."""
        found = self.at(*path)
        return found if isinstance(found, dict) else {}

    def components(self, *path: str | int) -> dict[str | int, type[Component[Any]] | None]:
        """Return the classes of the components in a map, by name; None for an unknown class."""
        return {
            place[-1]: component.type
            for place, component in self.bound.items()
            if place[:-1] == path
        }

    def valid(self, path: KeyPath) -> Component[Any] | None:
        """Return the component at a path; None if it, or one that it contains, is not valid.

        The properties of one that contains an invalid one cannot be read.
        """
        within = [part.spec for place, part in self.bound.items() if place[: len(path)] == path]
        found = self.bound.get(path)
        return None if found is None or None in within else found.spec

    def report(self, path: KeyPath, message: str, code: str, *, at_key: bool = False) -> None:
        """Report a mistake at a path: at its value, or at its key."""
        self.document.find(path, message, code, at_key=at_key)
