"""What each stage of a recipe is made of: the identities behind the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from recipekit.artifacts.key import FileHashes, component_identity, fields_identity
from recipekit.component import Slot, is_encoder_name, is_identity
from recipekit.errors import error_location
from recipekit.recipe.load import where
from recipekit.recipe.positions import KeyPath
from recipekit.recipe.sections import Recipe, Section
from recipekit.recipe.slots import all_slots
from recipekit.stages.pipeline import Stage

__all__ = ["stage_identity"]

ORDER = "(order)"
"""No name in a recipe can be this one."""


def stage_identity(
    recipe: Recipe, stage: Stage, section: Section, inputs: Mapping[str, str], hashes: FileHashes
) -> dict[str, Any]:
    """Everything that decides a stage's artifact, as JSON values.

    Args:
        recipe: The recipe, for its seed and its encoders.
        stage: The stage.
        section: The stage's section.
        inputs: Keys of the artifacts it reads, by stage.
        hashes: Content hashes of files.

    Raises:
        DataError: A local file that a component or a section names is missing.
        ComponentError: A component cannot tell what it would use (`fingerprint()`).
    """
    identity: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "seed": recipe.seed,
        "section": _identity(recipe, section, hashes, (stage.name,)),
        "inputs": dict(inputs),
    }
    if stage.name == "export":  # model and data cards tell the recipe's name and description
        identity["recipe"] = {"name": recipe.name, "description": recipe.description}
    return identity


def _identity(recipe: Recipe, value: Any, hashes: FileHashes, path: KeyPath) -> Any:
    """The identity of a section or anything in it; slots become their components, names of encoders
    the encoders.
    """
    if isinstance(value, Slot):
        inside = [value.spec, *(slot.spec for _, slot in all_slots(value.spec))]
        return {
            **_component(recipe, value, hashes, path),
            **_named_encoders(recipe, inside, hashes),
        }
    if isinstance(value, Section):
        names = [name for name, info in type(value).model_fields.items() if is_identity(info)]
        fields = {
            name: _identity(recipe, getattr(value, name), hashes, (*path, name)) for name in names
        }
        return {
            **fields,
            **_named_encoders(recipe, [value], hashes),
            **_files(recipe, value, hashes, path),
        }
    if isinstance(value, BaseModel):
        return fields_identity(value)
    if isinstance(value, Mapping):
        items = {
            name: _identity(recipe, item, hashes, (*path, name)) for name, item in value.items()
        }
        # Judges and phases run in the order they are written, which the sorted keys of canonical
        # JSON forget.
        return {**items, ORDER: list(items)} if len(items) > 1 else items
    if isinstance(value, list | tuple):
        return [_identity(recipe, item, hashes, path) for item in value]
    return value


def _encoder_names(model: BaseModel) -> Iterator[str]:
    """The encoders that a section or a component refers to."""
    for name, info in type(model).model_fields.items():
        if is_encoder_name(info):
            yield getattr(model, name)


def _named_encoders(
    recipe: Recipe, models: Iterable[BaseModel], hashes: FileHashes
) -> dict[str, Any]:
    known = recipe.encoders or {}
    named = [name for model in models for name in _encoder_names(model)]
    encoders = {
        name: _component(recipe, known[name], hashes, ("encoders", name))
        for name in named
        if name in known
    }
    return {"encoders": encoders} if encoders else {}


def _files(recipe: Recipe, section: Section, hashes: FileHashes, path: KeyPath) -> dict[str, Any]:
    """The content of the files that a section names itself."""
    named = {
        name: value
        for name in type(section).model_fields
        if isinstance(value := getattr(section, name), Path)
    }
    return (
        {
            "files": {
                name: _hash(recipe, file, hashes, (*path, name)) for name, file in named.items()
            }
        }
        if named
        else {}
    )


def _hash(recipe: Recipe, file: Path, hashes: FileHashes, path: KeyPath) -> str:
    with error_location(partial(where, recipe, path)):
        return hashes.of(file)


def _component(
    recipe: Recipe, slot: Slot[Any], hashes: FileHashes, path: KeyPath
) -> dict[str, Any]:
    with error_location(partial(where, recipe, path)):
        return component_identity(slot.spec, slot.entry.distribution, slot.entry.name, hashes)
