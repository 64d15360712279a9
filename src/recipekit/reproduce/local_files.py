"""The local files of a recipe, and a copy of the recipe that names them inside a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from recipekit.component import EncoderSpec, Slot
from recipekit.encoding.model_card import licence_of
from recipekit.encoding.named_model import NamedModel
from recipekit.reproduce.licences import permission

__all__ = ["LocalFile", "LocalFiles"]

MODEL: Final = "model"
"""The key that names the folder of a model."""


@dataclass(frozen=True)
class LocalFile:
    """A file or folder on this machine that a recipe names."""

    path: Path
    name: str
    """Its name inside a bundle: `data/own/pairs.jsonl`."""
    key: str
    """The recipe's key."""
    licence: str | None
    """The licence that its source or evaluator states, or the card in the folder of a model."""
    is_code: bool = False


@dataclass
class LocalFiles:
    """Collects the local files while a recipe is rewritten."""

    files: list[LocalFile] = field(default_factory=list)

    def rewritten(
        self, value: Any, typed: Any, key: tuple[str, ...] = (), licence: str | None = None
    ) -> Any:
        """Return a filled recipe in which local paths are relative to a bundle.

        Only values that the recipe's models declare as paths are files. Any other text that looks
        like a path, such as `delimiter: "/"`, is kept.

        Args:
            value: The recipe as plain data, or a part of it. Local paths in it are absolute.
            typed: The same part, validated.
            key: The path of the part.
            licence: The licence of the source that the part belongs to.
        """
        if isinstance(typed, Slot):
            found = self.rewritten(value, typed.spec, key, licence)
            return {**found, "use": self._use(typed, value["use"], key)}
        if isinstance(typed, BaseModel):
            return self._items(value, _fields(typed), key, value.get("license") or licence)
        if isinstance(typed, Mapping):
            named = {str(name): item for name, item in typed.items()}
            return self._items(value, named, key, licence)
        if isinstance(typed, list | tuple) and isinstance(value, list):
            pairs = zip(value, typed, strict=True)
            return [self.rewritten(item, own, key, licence) for item, own in pairs]
        if isinstance(typed, Path) and os.path.isabs(value) and os.path.lexists(value):
            stated = licence_of(typed) if key[-1] == MODEL else licence
            return f"./{self._added(Path(value), key, stated)}"
        return value

    def _items(
        self,
        values: Mapping[str, Any],
        typed: Mapping[str, Any],
        key: tuple[str, ...],
        licence: str | None,
    ) -> dict[str, Any]:
        return {
            name: self.rewritten(item, typed.get(name), (*key, name), licence)
            for name, item in values.items()
        }

    def _use(self, slot: Slot[Any], use: str, key: tuple[str, ...]) -> str:
        file = slot.entry.file
        if file is None:
            return use
        return f"./{self._added(file, (*key, 'use'), None, is_code=True)}:{slot.entry.name}"

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


def _fields(model: BaseModel) -> dict[str, Any]:
    """Return the values of a model by the keys of a recipe; the folder of a model is a path."""
    fields = type(model).model_fields
    values = {fields[name].alias or name: getattr(model, name) for name in fields}
    if isinstance(model, NamedModel | EncoderSpec) and isinstance(values.get(MODEL), str):
        values[MODEL] = Path(values[MODEL])
    return values


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
