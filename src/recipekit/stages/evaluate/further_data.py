"""Further data sets of an evaluation: corpora that the recipe does not train on."""

from __future__ import annotations

from dataclasses import replace

from recipekit import stages
from recipekit.artifacts.key import slot_identity
from recipekit.artifacts.store import Artifact
from recipekit.component import Slot, SourceSpec
from recipekit.stages.by_products import ByProducts
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
    source = slot_identity(slot, inputs.hashes)
    identity = {"by_product": FURTHER_DATA, "name": name, "source": source, "seed": inputs.seed}
    section = CollectSection.model_construct(sources={name: slot}, split=ALL_TEST)
    by_products = ByProducts(inputs.store, inputs.ranks, inputs.by_products)
    folder = by_products.make(
        FURTHER_DATA, identity, lambda partial: collect(inputs, section, partial)
    )
    extending = stages.dataset_stage_names()
    kept = {
        stage: artifact for stage, artifact in inputs.artifacts.items() if stage not in extending
    }
    data = Artifact(extending[0], folder.name, folder)
    return replace(inputs, artifacts={extending[0]: data, **kept})
