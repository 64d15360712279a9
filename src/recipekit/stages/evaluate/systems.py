"""The systems of an evaluation: baselines, and the encoder before and after training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recipekit.arrays import Rows
from recipekit.artifacts.key import key_of
from recipekit.component import (
    Efficiency,
    Embeddings,
    EncoderWeights,
    EvaluatorSpec,
    Retriever,
    RetrieverSpec,
    Slot,
    System,
)
from recipekit.errors import RunError
from recipekit.recipe.sections import TRAINED
from recipekit.records import Side, Similarity
from recipekit.retrievers.exact import ExactSpec
from recipekit.stages.evaluate.costs import (
    TimedEmbed,
    baseline_efficiency,
    encoder_efficiency,
    index_bytes,
    recording,
)
from recipekit.stages.evaluate.measured import measured_queries
from recipekit.stages.evaluate.section import UNTRAINED, EvaluateSection
from recipekit.stages.inputs import StageInputs

__all__ = ["baseline_system", "measured_systems"]


def measured_systems(
    inputs: StageInputs,
    section: EvaluateSection,
    specs: Sequence[EvaluatorSpec],
    scratch: Path,
    *,
    searches: bool,
) -> Iterator[System]:
    """Yield the systems in the order of the tables: the trained one is last, compared with all.

    Where no evaluator searches, only encoders are systems, and no corpus is encoded.
    """
    assert inputs.dataset is not None
    rows = measured_queries(specs, inputs.dataset)
    dense = _dense if searches else _encoder_alone
    if searches:
        for name, slot in section.baselines.items():
            yield baseline_system(inputs, name, slot, rows, scratch)
    if (
        section.untrained
        and section.encoder in inputs.encoders
        and _can_be_untrained(inputs, section.encoder)
    ):
        yield dense(inputs, UNTRAINED, section.encoder, "initial", rows, scratch)
    if inputs.trained and "train" in inputs.artifacts:
        yield dense(inputs, TRAINED, inputs.trained, "trained", rows, scratch)


def _can_be_untrained(inputs: StageInputs, name: str) -> bool:
    """Return whether an encoder embeds texts, and has no random weights before it is trained."""
    if not inputs.encoders[name].spec.embeds_texts:
        return False
    has_random = inputs.encoder(name, weights="initial").has_untrained_dense
    if has_random:
        inputs.progress.info(
            f"'{UNTRAINED}' is left out: the Dense layer of encoder '{name}' has random weights "
            "before training"
        )
    return not has_random


def baseline_system(
    inputs: StageInputs, name: str, slot: Slot[RetrieverSpec], rows: Rows | None, scratch: Path
) -> System:
    """Return a retriever as a system, with what it costs.

    Args:
        inputs: The inputs of the evaluation.
        name: Its name in the tables.
        slot: The retriever.
        rows: The queries that are searched with; None for all.
        scratch: A folder.
    """
    context = inputs.context(scratch / name, weights="initial", query_rows=rows)
    before = len(inputs.by_products)
    used: dict[Any, dict[Side, Embeddings]] = {}
    retriever = slot.spec.build(recording(context, used))
    made = dict.fromkeys(inputs.by_products[before:])
    searched = index_bytes(inputs.store.cache / kind / key for kind, key in made)
    is_main = inputs.ranks.is_main
    efficiency = baseline_efficiency(retriever, used.values(), searched, is_main=is_main)
    return System(name, lambda: retriever, efficiency=efficiency)


def _dense(
    inputs: StageInputs,
    name: str,
    encoder: str,
    weights: EncoderWeights,
    rows: Rows | None,
    scratch: Path,
) -> System:
    """Return exact search over an encoder's embeddings of both sides, encoded here by all ranks.

    The matrix is loaded when it is searched.
    """
    context = inputs.context(scratch / name, weights=weights, query_rows=rows)
    encoded: dict[Side, Embeddings] = {
        "query": context.query_embeddings(encoder),
        "passage": context.embeddings(encoder, "passage"),
    }
    there = replace(context, embeddings=lambda _, side: encoded[side], query_rows=None)
    return _system(
        inputs,
        name,
        encoder,
        weights,
        lambda: ExactSpec(encoder=encoder).build(there),
        encoded["passage"].similarity,
        encoded,
    )


def _encoder_alone(
    inputs: StageInputs,
    name: str,
    encoder: str,
    weights: EncoderWeights,
    rows: Rows | None,
    scratch: Path,
) -> System:
    """Return a system that embeds texts and does not search."""

    def retriever() -> Retriever:
        raise RunError(f"system '{name}' was not prepared for search", code="RK640")

    similarity = inputs.encoder(encoder, weights=weights).similarity
    return _system(inputs, name, encoder, weights, retriever, similarity)


def _system(
    inputs: StageInputs,
    name: str,
    encoder: str,
    weights: EncoderWeights,
    retriever: Callable[[], Retriever],
    similarity: Similarity,
    vectors: Mapping[Side, Embeddings] | None = None,
) -> System:
    load = partial(inputs.encoder, encoder, weights=weights)
    embed = TimedEmbed(load, inputs.ranks, inputs.progress)
    _, identity = inputs.encoder_spec(encoder, weights)
    efficiency = encoder_efficiency(vectors) if vectors else Efficiency()
    key = key_of(identity)
    return System(name, retriever, load, similarity, embed, key, vectors, efficiency)
