"""The evaluate stage: measure the trained encoder, the untrained one, and the baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipekit.arrays import Rows
from recipekit.artifacts.store import write_json
from recipekit.component import EncoderWeights, RetrieverSpec, Slot, System
from recipekit.errors import RunError
from recipekit.recipe.sections import TRAINED
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

    All ranks build the systems, since they encode together; only the main rank measures.

    Raises:
        RunError: There is no system to measure.
        DataError: An evaluator finds nothing to measure on.
    """
    systems = list(_systems(inputs, section, out))
    if not systems:
        raise RunError(
            "evaluate has no system to measure: name a baseline, or an encoder and "
            "`untrained: true`",
            code="RK640",
        )
    if not inputs.ranks.is_main:
        return {}
    rows = []
    for name, slot in section.evaluators.items():
        measured = slot.spec.build(inputs.context(out / "rankings" / name)).evaluate(systems)
        rows += [{"evaluator": name, **row} for row in measured]
    write_json(out / "metrics.json", rows)
    return {
        "systems": [system.name for system in systems],
        "similarity": {
            system.name: system.similarity for system in systems if system.similarity is not None
        },
        "evaluators": list(section.evaluators),
        "figures": len(rows),
    }


def _systems(inputs: StageInputs, section: EvaluateSection, out: Path) -> Iterator[System]:
    """Yield the systems in the order of the tables: the trained one is last, compared with all."""
    assert inputs.dataset is not None
    rows = measured_queries(section, inputs.dataset)
    for name, slot in section.baselines.items():
        yield _baseline(inputs, name, slot, rows, out)
    if (
        section.untrained
        and section.encoder in inputs.encoders
        and _can_be_untrained(inputs, section.encoder)
    ):
        yield _dense(inputs, UNTRAINED, section.encoder, "initial", rows, out)
    if inputs.trained and "train" in inputs.artifacts:
        yield _dense(inputs, TRAINED, inputs.trained, "trained", rows, out)


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
    return System(
        name,
        lambda: ExactSpec(encoder=encoder).build(there),
        lambda: inputs.encoder(encoder, weights=weights),
        encoded["passage"].similarity,
    )
