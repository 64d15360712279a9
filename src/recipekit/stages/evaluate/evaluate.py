"""The evaluate stage: measure the trained encoder, the untrained one, and the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.key import key_of
from recipekit.artifacts.store import write_json
from recipekit.component import EncoderWeights, Retriever, RetrieverSpec, Slot, System
from recipekit.errors import RunError
from recipekit.recipe.sections import TRAINED
from recipekit.records import Side, Similarity
from recipekit.retrievers.exact import ExactSpec
from recipekit.stages.evaluate.measured import measured_queries
from recipekit.stages.evaluate.section import UNTRAINED, EvaluateSection
from recipekit.stages.inputs import StageInputs

__all__ = ["evaluate"]


def evaluate(inputs: StageInputs, section: EvaluateSection, out: Path) -> dict[str, Any]:
    """Measure every system with every evaluator.

    Writes `metrics.json`, rows `{evaluator, split, system, metric, value, low, high, queries,
    ...}`, and `rankings/NAME/`, the files of the evaluator NAME (for `retrieval`, values per query
    and the first passages).

    All ranks build the systems and run evaluators that embed texts, since they encode together.
    Only the main rank searches and writes.

    Raises:
        RunError: There is no system to measure.
        DataError: An evaluator finds nothing to measure on.
    """
    searches = any(not slot.spec.reads_texts for slot in section.evaluators.values())
    systems = list(_systems(inputs, section, out, searches=searches))
    if not systems:
        raise RunError(
            "evaluate has no system to measure: name a baseline, or an encoder and "
            "`untrained: true`",
            code="RK640",
        )
    rows = []
    for name, slot in section.evaluators.items():
        if not (inputs.ranks.is_main or slot.spec.reads_texts):
            continue
        evaluator = slot.spec.build(inputs.context(out / "rankings" / name))
        measured = evaluator.evaluate(systems)
        if inputs.ranks.is_main and not measured:
            raise RunError(
                f"evaluator '{name}' measures encoders, and there is none to measure: name one in "
                "evaluate.encoder",
                code="RK640",
            )
        rows += [{"evaluator": name, **row} for row in measured]
    if not inputs.ranks.is_main:
        return {}
    write_json(out / "metrics.json", rows)
    return {
        "systems": [system.name for system in systems],
        "similarity": {
            system.name: system.similarity for system in systems if system.similarity is not None
        },
        "evaluators": list(section.evaluators),
        "figures": len(rows),
    }


def _systems(
    inputs: StageInputs, section: EvaluateSection, out: Path, *, searches: bool
) -> Iterator[System]:
    """Yield the systems in the order of the tables: the trained one is last, compared with all.

    Where no evaluator searches, only encoders are systems, and no corpus is encoded.
    """
    assert inputs.dataset is not None
    rows = measured_queries(section, inputs.dataset)
    dense = _dense if searches else _encoder_alone
    if searches:
        for name, slot in section.baselines.items():
            yield _baseline(inputs, name, slot, rows, out)
    if (
        section.untrained
        and section.encoder in inputs.encoders
        and _can_be_untrained(inputs, section.encoder)
    ):
        yield dense(inputs, UNTRAINED, section.encoder, "initial", rows, out)
    if inputs.trained and "train" in inputs.artifacts:
        yield dense(inputs, TRAINED, inputs.trained, "trained", rows, out)


def _can_be_untrained(inputs: StageInputs, name: str) -> bool:
    """Return whether an encoder has no layer with random weights before it is trained."""
    has_random = getattr(inputs.encoder(name, weights="initial"), "has_untrained_dense", False)
    if has_random:
        inputs.progress.info(
            f"'{UNTRAINED}' is left out: the Dense layer of encoder '{name}' has random weights "
            "before training"
        )
    return not has_random


def _baseline(
    inputs: StageInputs, name: str, slot: Slot[RetrieverSpec], rows: Rows | None, out: Path
) -> System:
    context = inputs.context(out / "scratch" / name, weights="initial", query_rows=rows)
    retriever = slot.spec.build(context)
    return System(name, lambda: retriever)


def _dense(
    inputs: StageInputs,
    name: str,
    encoder: str,
    weights: EncoderWeights,
    rows: Rows | None,
    out: Path,
) -> System:
    """Return exact search over an encoder's embeddings of both sides, encoded here by all ranks.

    The matrix is loaded when it is searched.
    """
    context = inputs.context(out / "scratch" / name, weights=weights, query_rows=rows)
    encoded = {
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
    )


def _encoder_alone(
    inputs: StageInputs,
    name: str,
    encoder: str,
    weights: EncoderWeights,
    rows: Rows | None,
    out: Path,
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
) -> System:
    load = partial(inputs.encoder, encoder, weights=weights)

    def embed(texts: Sequence[str], side: Side) -> Floats:
        from recipekit.encoding.embed_texts import embed_texts

        return embed_texts(load(), texts, side, inputs.ranks, inputs.progress)

    _, identity = inputs.encoder_spec(encoder, weights)
    return System(name, retriever, load, similarity, embed, key_of(identity))
