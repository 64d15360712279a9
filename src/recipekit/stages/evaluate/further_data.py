"""Further data sets of an evaluation: corpora that the recipe does not train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from recipekit import stages
from recipekit.artifacts.key import component_identity, key_of
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Artifact
from recipekit.component import Slot, SourceSpec
from recipekit.stages.collect.collect import collect
from recipekit.stages.collect.section import CollectSection, Split
from recipekit.stages.evaluate.section import FURTHER_DATA
from recipekit.stages.inputs import StageInputs

__all__ = ["with_data"]

ALL_TEST = Split.model_construct(dev=0.0, test=1.0)
"""Queries whose source has no splits are all for testing, since nothing is trained on them."""


def with_data(inputs: StageInputs, name: str, slot: Slot[SourceSpec]) -> StageInputs:
    """Return the inputs with another data set, read from a source, in place of the recipe's own.

    The data set is cached. The main rank reads it while the others wait.

    Raises:
        DataError: The source finds a mistake in its data, or no query has a positive.
    """
    entry = slot.entry
    source = component_identity(slot.spec, entry.distribution, entry.name, inputs.hashes)
    identity = {"by_product": FURTHER_DATA, "name": name, "source": source, "seed": inputs.seed}
    key = key_of(identity)

    def build(folder: Path) -> dict[str, Any]:
        section = CollectSection.model_construct(sources={name: slot}, split=ALL_TEST)
        summary = collect(inputs, section, folder)
        return manifest(stage=FURTHER_DATA, key=key, identity=identity, inputs={}, summary=summary)

    if inputs.ranks.is_main:
        inputs.store.make(FURTHER_DATA, key, build)
    inputs.ranks.barrier()
    inputs.by_products.append((FURTHER_DATA, key))
    extending = [stage.name for stage in stages.PIPELINE if stage.extends_dataset]
    kept = {
        stage: artifact for stage, artifact in inputs.artifacts.items() if stage not in extending
    }
    data = Artifact(extending[0], key, inputs.store.cache / FURTHER_DATA / key)
    return replace(inputs, artifacts={extending[0]: data, **kept})
