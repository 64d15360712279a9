"""The identity of a stage's artifact: everything that its key is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from recipekit.artifacts.key import FileHashes, fields_identity, slot_identity
from recipekit.component import Slot, encoder_names, is_identity
from recipekit.errors import error_location
from recipekit.human_labels import weights_file
from recipekit.recipe.load import where
from recipekit.recipe.positions import KeyPath
from recipekit.recipe.sections import Recipe, Section
from recipekit.recipe.slots import all_slots
from recipekit.stages.stage import Stage

__all__ = ["stage_identity", "without_limits"]

ORDER = "(order)"
"""No name in a recipe can look like this."""


def stage_identity(
    recipe: Recipe, stage: Stage, section: Section, inputs: Mapping[str, str], hashes: FileHashes
) -> dict[str, Any]:
    """Return everything that decides a stage's artifact, as JSON values.

    Args:
        recipe: The recipe, for its seed and its encoders.
        stage: The stage.
        section: The stage's section.
        inputs: Keys of the artifacts that it reads, by stage.
        hashes: Content hashes of files.

    Raises:
        DataError: A local file that a component or a section names is missing.
        ComponentError: A component's `fingerprint()` failed.
    """
    identity: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "seed": recipe.seed,
        "section": _Identities(recipe, hashes).of(section, (stage.name,)),
        "inputs": dict(inputs),
    }
    if stage.spends:
        own = identity["section"].pop("spending")
        identity["limits"] = {
            "spending": recipe.spending.model_dump(),
            stage.name: {"spending": own},
        }
    if stage.exports:
        identity["recipe"] = {"name": recipe.name, "description": recipe.description}
    return identity


def without_limits(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without the spending limits of the recipe and of the stage."""
    return {name: value for name, value in identity.items() if name != "limits"}


class _Identities:
    """Walks a section. Slots become their components, names of encoders the encoders."""

    def __init__(self, recipe: Recipe, hashes: FileHashes) -> None:
        self.recipe, self.hashes = recipe, hashes

    def of(self, value: Any, path: KeyPath) -> Any:
        """Return the identity of a section, or of anything in it."""
        if isinstance(value, Slot):
            inside = [value.spec, *(slot.spec for _, slot in all_slots(value.spec))]
            return {**self._component(value, path), **self._named_encoders(inside)}
        if isinstance(value, Section):
            return self._section(value, path)
        if isinstance(value, BaseModel):
            return fields_identity(value)
        if isinstance(value, Mapping):
            items = {name: self.of(item, (*path, name)) for name, item in value.items()}
            # Judges and phases run in the order in which they are written, which the sorted keys
            # of canonical JSON lose.
            return {**items, ORDER: list(items)} if len(items) > 1 else items
        if isinstance(value, list | tuple):
            return [self.of(item, path) for item in value]
        return value

    def _section(self, section: Section, path: KeyPath) -> dict[str, Any]:
        fields = type(section).model_fields
        names = [name for name, info in fields.items() if is_identity(info)]
        identity = {name: self.of(getattr(section, name), (*path, name)) for name in names}
        identity |= section.further_identity()
        return {**identity, **self._named_encoders([section]), **self._files(section, path)}

    def _named_encoders(self, models: Iterable[BaseModel]) -> dict[str, Any]:
        known = self.recipe.encoders or {}
        names = [name for model in models for name in encoder_names(model)]
        encoders = {
            name: self._component(known[name], ("encoders", name))
            for name in names
            if name in known
        }
        return {"encoders": encoders} if encoders else {}

    def _files(self, section: Section, path: KeyPath) -> dict[str, Any]:
        """Return the content hashes of the files that a section itself names.

        The sampling weights next to a file of human labels count with it.
        """
        files = {}
        for name in type(section).model_fields:
            file = getattr(section, name)
            if isinstance(file, Path):
                files[name] = self._hash(file, (*path, name))
                if weights_file(file).is_file():
                    files[f"{name} weights"] = self._hash(weights_file(file), (*path, name))
        return {"files": files} if files else {}

    def _hash(self, file: Path, path: KeyPath) -> str:
        with error_location(partial(where, self.recipe, path)):
            return self.hashes.of(file)

    def _component(self, slot: Slot[Any], path: KeyPath) -> dict[str, Any]:
        with error_location(partial(where, self.recipe, path)):
            return slot_identity(slot, self.hashes)
