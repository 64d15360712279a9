"""Source locations in a recipe, and the findings about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from recipekit.errors import Problem, RecipeError
from recipekit.lookalikes import first_lookalike
from recipekit.recipe.environment import redact

__all__ = ["Document", "Finding", "KeyPath", "SourceLocation", "at", "dotted", "refuse"]

_MAX_LISTED: Final = 100
_MAX_KEY: Final = 80
"""Characters of a key that messages repeat."""

KeyPath = tuple[str | int, ...]
"""Keys and list indices, from the top of the recipe."""


def dotted(path: KeyPath) -> str:
    """Format a path as messages and `--set` do: `evaluate.evaluators.held_out.metrics.0`."""
    return ".".join(map(str, path))


@dataclass(frozen=True, order=True)
class SourceLocation:
    """A position: `file:line:col`, or the `--set` that set a value.

    Locations sort in the order of the file, overrides last.
    """

    order: tuple[int, int, int]
    text: str

    @classmethod
    def in_file(cls, name: str, line: int, column: int) -> SourceLocation:
        """Return a position in a file; line and column start at 1."""
        return cls((0, line, column), f"{name}:{line}:{column}")

    @classmethod
    def in_override(cls, override: str, index: int) -> SourceLocation:
        """Return the location of the `index`-th `--set`."""
        return cls((1, index, 0), f"--set {override}")

    @property
    def is_override(self) -> bool:
        """Whether it came from the command line."""
        return self.order[0] == 1


@dataclass(frozen=True, order=True)
class Finding:
    """A mistake at a source location."""

    place: SourceLocation
    path: KeyPath = field(compare=False)
    message: str = field(compare=False)
    code: str = field(compare=False)

    def problem(self) -> Problem:
        """Return the finding for the user, without values from the environment."""
        path = dotted(tuple(_shortened(part) for part in self.path))
        return Problem(redact(self.place.text), path, redact(self.message), self.code)


def _shortened(part: str | int) -> str | int:
    if isinstance(part, str) and len(part) > _MAX_KEY:
        return f"{part[: _MAX_KEY - 3]}..."
    return part


@dataclass
class Document:
    """A recipe as it was read: maps, lists and scalars, and the locations of keys and values."""

    name: str
    text: str = ""
    value: Any = None
    keys: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    values: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    faulty: set[KeyPath] = field(default_factory=set)
    overridden: list[KeyPath] = field(default_factory=list)
    """The paths that `--set` replaced or added."""
    copied: dict[KeyPath, KeyPath] = field(default_factory=dict)
    """The paths of components that name another one in `use`, with the paths of the others."""

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.splitlines()

    def key(self, path: KeyPath) -> SourceLocation:
        """Return the location of a key, or of the nearest written key above it."""
        while path and path not in self.keys and path not in self.values:
            path = path[:-1]
        return (
            self.keys.get(path) or self.values.get(path) or SourceLocation.in_file(self.name, 1, 1)
        )

    def place(self, path: KeyPath) -> SourceLocation:
        """Return the location of a value, or of the nearest written key above it."""
        return self.values.get(path) or self.key(path)

    def is_overridden(self, path: KeyPath) -> bool:
        """Whether a value, or anything in it, comes from the command line."""
        return self.place(path).is_override or any(
            changed[: len(path)] == path for changed in self.overridden
        )

    def find(self, path: KeyPath, message: str, code: str, *, at_key: bool = False) -> None:
        """Note a mistake, unless there is already one at this path.

        A character of the key or value that looks like another is named, and is its position.
        """
        if path and path in self.faulty:
            return
        place = self.key(path) if at_key else self.place(path)
        text = path[-1] if path and at_key else at(self.value, path)
        if isinstance(text, str) and (found := first_lookalike(text)):
            separator = " " if message.endswith((".", "?")) else "; "
            message = f"{message}{separator}{found}"
            place = self._at_character(place, text, found.index)
        self.add(Finding(place, path, message, code))

    def _at_character(self, place: SourceLocation, text: str, index: int) -> SourceLocation:
        """Return the location of a character of a text that starts at a place."""
        _, line, column = place.order
        if place.is_override or not 0 < line <= len(self.lines):
            return place
        start = self.lines[line - 1].find(text, column - 1)
        if start < 0:
            return place
        return SourceLocation.in_file(self.name, line, start + index + 1)

    def reported_once(self) -> list[Finding]:
        """Return the findings without those that a component copied from another one."""
        known = {(finding.path, finding.message) for finding in self.findings}
        return [
            finding
            for finding in self.findings
            if (self.original(finding.path), finding.message) not in known
        ]

    def original(self, path: KeyPath) -> KeyPath | None:
        """Return the path of the key that was copied to a path; None for a key that is written."""
        for copy, source in self.copied.items():
            inside, below = path[: len(copy)] == copy, path[len(copy) :]
            if inside and below and path[: len(copy) + 1] not in self.values:
                return (*source, *below)
        return None

    def add(self, finding: Finding) -> None:
        """Note a finding that has a location."""
        self.findings.append(finding)
        self.faulty.add(finding.path)


def at(value: Any, path: Iterable[str | int]) -> Any:
    """Return the value at a path of plain data, or None."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
            value = value[part]
        else:
            return None
    return value


def refuse(findings: Iterable[Finding]) -> RecipeError:
    """Return the error with all findings in the order of the file, the first hundred of them."""
    problems = list(dict.fromkeys(finding.problem() for finding in sorted(findings)))
    if len(problems) > _MAX_LISTED:
        problems[_MAX_LISTED:] = [
            Problem("", "", f"... and {len(problems) - _MAX_LISTED} more", problems[0].code)
        ]
    return RecipeError(problems)
