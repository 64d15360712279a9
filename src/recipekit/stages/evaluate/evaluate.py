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
from recipekit.component import (
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
from recipekit.stages.evaluate.further_data import with_data
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
    rows: list[dict[str, Any]] = []
    systems: dict[str, System] = {}
    for data in dict.fromkeys(slot.spec.data_name for slot in section.evaluators.values()):
        names = [name for name, slot in section.evaluators.items() if slot.spec.data_name == data]
        given, scratch = inputs, out / "scratch"
        if data is not None:
            given, scratch = with_data(inputs, data, section.sources[data]), out / "scratch" / data
        found = _measure(given, section, names, out, scratch)
        systems |= {system.name: system for system in found[0]}
        rows += found[1]
    order = list(section.evaluators)
    rows.sort(key=lambda row: order.index(row["evaluator"]))
    if not inputs.ranks.is_main:
        return {}
    write_json(out / "metrics.json", rows)
    return {
        "systems": list(systems),
        "similarity": {
            name: system.similarity
            for name, system in systems.items()
            if system.similarity is not None
        },
        "evaluators": list(section.evaluators),
        "figures": len(rows),
    }


def _measure(
    inputs: StageInputs, section: EvaluateSection, names: Sequence[str], out: Path, scratch: Path
) -> tuple[list[System], list[dict[str, Any]]]:
    """Measure the systems with some evaluators on the data set of `inputs`."""
    specs = {name: section.evaluators[name].spec for name in names}
    searches = any(not spec.reads_texts for spec in specs.values())
    systems = list(_systems(inputs, section, list(specs.values()), scratch, searches=searches))
    if not systems:
        raise RunError(
            "evaluate has no system to measure: name a baseline, or an encoder and "
            "`untrained: true`",
            code="RK640",
        )
    rows = []
    for name, spec in specs.items():
        if not (inputs.ranks.is_main or spec.reads_texts):
            continue
        measured = spec.build(inputs.context(out / "rankings" / name)).evaluate(systems)
        if inputs.ranks.is_main and not measured:
            raise RunError(
                f"evaluator '{name}' measures encoders, and there is none to measure: name one in "
                "evaluate.encoder",
                code="RK640",
            )
        further = {} if spec.data_name is None else {"source": spec.data_name}
        rows += [{"evaluator": name, **further, **row} for row in measured]
    return systems, rows


def _systems(
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
            yield _baseline(inputs, name, slot, rows, scratch)
    if (
        section.untrained
        and section.encoder in inputs.encoders
        and _can_be_untrained(inputs, section.encoder)
    ):
        yield dense(inputs, UNTRAINED, section.encoder, "initial", rows, scratch)
    if inputs.trained and "train" in inputs.artifacts:
        yield dense(inputs, TRAINED, inputs.trained, "trained", rows, scratch)


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
    inputs: StageInputs, name: str, slot: Slot[RetrieverSpec], rows: Rows | None, scratch: Path
) -> System:
    context = inputs.context(scratch / name, weights="initial", query_rows=rows)
    retriever = slot.spec.build(context)
    return System(name, lambda: retriever)


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
) -> System:
    load = partial(inputs.encoder, encoder, weights=weights)

    def embed(texts: Sequence[str], side: Side) -> Floats:
        from recipekit.encoding.embed_texts import embed_texts

        return embed_texts(load(), texts, side, inputs.ranks, inputs.progress)

    _, identity = inputs.encoder_spec(encoder, weights)
    return System(name, retriever, load, similarity, embed, key_of(identity))
