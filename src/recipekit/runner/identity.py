"""What each stage of a recipe is made of: the identities behind the keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from recipekit.artifacts.key import FileHashes, component_identity, fields_identity
from recipekit.component import is_encoder_name, is_identity
from recipekit.recipe.models import TRAINED, Recipe, Section, Slot

from recipekit.stages.pipeline import Stage

__all__ = ["stage_identity"]

ORDER = "(order)"
"""No name in a recipe can be this one."""


def stage_identity(recipe: Recipe, stage: Stage, section: Section, inputs: Mapping[str, str], hashes: FileHashes) -> dict[str, Any]:
    """Everything that decides a stage's artifact, as JSON values.

    Args:
        recipe: The recipe, for its seed and its encoders.
        stage: The stage.
        section: The stage's section.
        inputs: Keys of the artifacts it reads, by stage.
        hashes: Content hashes of files.

    Raises:
        DataError: A local file that a component names is missing.
        ComponentError: A component cannot tell what it would use (`fingerprint()`).
    """
    identity: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "seed": recipe.seed,
        "section": _identity(recipe, section, hashes),
        "inputs": dict(inputs),
    }
    if stage.name == "export":  # model and data cards tell the recipe's name and description
        identity["recipe"] = {"name": recipe.name, "description": recipe.description}
    return identity


def _identity(recipe: Recipe, value: Any, hashes: FileHashes) -> Any:
    """The identity of a section or anything in it; slots become their components, names of encoders the encoders."""
    if isinstance(value, Slot):
        spec = value.spec
        identity = component_identity(spec, value.entry.distribution, value.entry.name, hashes)
        return {**identity, **_named_encoders(recipe, spec, hashes)}
    if isinstance(value, Section):
        fields = {
            name: _identity(recipe, getattr(value, name), hashes) for name, info in type(value).model_fields.items() if is_identity(info)
        }
        return {**fields, **_named_encoders(recipe, value, hashes)}
    if isinstance(value, BaseModel):
        return fields_identity(value)
    if isinstance(value, Mapping):
        items = {name: _identity(recipe, item, hashes) for name, item in value.items()}
        # Judges and phases run in the order they are written, which the sorted keys of canonical JSON forget.
        return {**items, ORDER: list(items)} if len(items) > 1 else items
    if isinstance(value, list | tuple):
        return [_identity(recipe, item, hashes) for item in value]
    return value


def _named_encoders(recipe: Recipe, model: BaseModel, hashes: FileHashes) -> dict[str, Any]:
    encoders = {}
    for name, info in type(model).model_fields.items():
        encoder = getattr(model, name)
        if is_encoder_name(info) and encoder in (recipe.encoders or {}) and encoder != TRAINED:
            slot = (recipe.encoders or {})[encoder]
            encoders[encoder] = component_identity(slot.spec, slot.entry.distribution, slot.entry.name, hashes)
    return {"encoders": encoders} if encoders else {}
