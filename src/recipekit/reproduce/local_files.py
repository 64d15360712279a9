"""The local files of a recipe, and a copy of the recipe that names them inside a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recipekit.reproduce.licences import permission

__all__ = ["LocalFile", "LocalFiles"]


@dataclass(frozen=True)
class LocalFile:
    """A file or folder on this machine that a recipe names."""

    path: Path
    name: str
    """Its name inside a bundle: `data/own/pairs.jsonl`."""
    key: str
    """The recipe's key."""
    licence: str | None
    """The licence that its source or evaluator states."""
    is_code: bool = False


@dataclass
class LocalFiles:
    """Collects the local files while a recipe is rewritten."""

    files: list[LocalFile] = field(default_factory=list)

    def rewritten(self, value: Any, path: tuple[str, ...] = (), licence: str | None = None) -> Any:
        """Return a filled recipe in which local paths are relative to a bundle.

        Args:
            value: The recipe, or a part of it. Local paths in it are absolute.
            path: The path of the part.
            licence: The licence of the source that the part belongs to.
        """
        if isinstance(value, dict):
            licence = value.get("license") or licence
            return {
                name: self.rewritten(item, (*path, str(name)), licence)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.rewritten(item, path, licence) for item in value]
        if isinstance(value, str) and value.startswith("/"):
            return self._text(value, path, licence)
        return value

    def _text(self, value: str, path: tuple[str, ...], licence: str | None) -> str:
        if path[-1] == "use" and ".py:" in value:
            file, _, name = value.rpartition(":")
            return f"./{self._added(Path(file), path, None, is_code=True)}:{name}"
        if os.path.lexists(value):
            return f"./{self._added(Path(value), path, licence)}"
        return value

    def _added(
        self, path: Path, key: tuple[str, ...], licence: str | None, *, is_code: bool = False
    ) -> str:
        for number, known in enumerate(self.files):
            if known.path == path:
                self.files[number] = replace(known, licence=_stricter(known.licence, licence))
                return known.name
        taken = {file.name for file in self.files}
        name = next(name for name in _names(path, key, is_code) if name not in taken)
        self.files.append(LocalFile(path, name, ".".join(key), licence, is_code))
        return name


def _stricter(first: str | None, second: str | None) -> str | None:
    """Return the licence of a file that a recipe names twice: one that forbids copies counts."""
    if first is None or (second is not None and permission(second) == "forbidden"):
        return second
    return first


def _names(path: Path, key: tuple[str, ...], is_code: bool) -> Iterator[str]:
    """Yield names inside a bundle: the file's own, in a folder with the name of its component."""
    folder = "code" if is_code else f"data/{key[-2] if len(key) > 1 else key[0]}"
    yield f"{folder}/{path.name}"
    number = 2
    while True:
        yield f"{folder}-{number}/{path.name}"
        number += 1
