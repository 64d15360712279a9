"""Whether two evaluators measure the same: what decides their values, by a recipe or a lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recipekit.artifacts.key import FileHashes, canonical, slot_identity
from recipekit.component import Slot, SourceSpec
from recipekit.evaluators.mteb import MtebSpec
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.pipeline.identity_parts import identity_parts

__all__ = [
    "SEED",
    "Parts",
    "parts_at",
    "parts_of_slot",
    "parts_of_source",
    "searches_alike",
    "searches_collected_data",
]

OWN: Final = "own"
"""The name of a component in an identity that is compared with a lock."""
SEED: Final = "seed"

Parts = Mapping[str, str]
"""What decides what a component computes, by key, as JSON."""


def parts_of_source(slot: Slot[SourceSpec], hashes: FileHashes, seed: int) -> Parts:
    """Return what decides a further data set, as `parts_at` does of a lock, and the seed."""
    return {**parts_of_slot(slot, hashes), SEED: canonical(seed)}


def parts_of_slot(slot: Slot[Any], hashes: FileHashes) -> Parts:
    """Return what decides what a component computes, as `parts_at` does of a lock."""
    section = {OWN: slot_identity(slot, hashes)}
    identity = {"stage": OWN, "version": 0, "seed": 0, "section": section}
    found = identity_parts(identity)
    parts = {part.path: part.value for part in found if part.kind != "version"}
    return parts_at(parts, f"{OWN}.{OWN}")


def parts_at(parts: Mapping[str, Any], path: str) -> Parts:
    """Return what decides what the component at a path computes, by key; its revision by ''."""
    found = {}
    for whole, value in parts.items():
        key = whole.removeprefix(f"{path}.") if whole != path else ""
        if key != whole and key not in Resampling.model_fields:
            found[key] = canonical(value)
    return found


def searches_collected_data(spec: object) -> bool:
    """Return whether figures of an evaluator depend on the data that a recipe collects."""
    if isinstance(spec, RetrievalSpec):
        return spec.source is None
    return isinstance(spec, MtebSpec) and bool(spec.retrieval) and spec.source is None


def searches_alike(first: RetrievalSpec, second: RetrievalSpec) -> bool:
    """Return whether two evaluators give a query the same value of a metric on equal data."""
    keys = ("split", "exclude_same_id", "exclude_own_text")
    return all(getattr(first, key) == getattr(second, key) for key in keys)
