"""Measures the models with all evaluators, the reference against each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recipekit.comparison.alike import parts_of_source, searches_collected_data
from recipekit.comparison.differing import (
    DifferingQuery,
    differing_queries,
    read_costs,
)
from recipekit.comparison.differing_items import differing_items
from recipekit.comparison.item_values import ItemValues, read_item_values, rows_of_values
from recipekit.comparison.measured_data import MeasuredData
from recipekit.comparison.models import ComparedModel
from recipekit.comparison.mteb_scores import TaskScores, rows_of_scores, task_scores
from recipekit.comparison.published import PublishedModel
from recipekit.comparison.retrievers import ComparedRetriever
from recipekit.comparison.systems import LoadedEncoder, system_of
from recipekit.component import EvaluatorSpec, System
from recipekit.evaluators.evaluation_file import EvaluationFile
from recipekit.evaluators.mteb import MtebSpec
from recipekit.evaluators.mteb_values_file import MTEB_VALUES
from recipekit.evaluators.per_query_file import PER_QUERY_FILE
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.stages.evaluate.further_data import with_data
from recipekit.stages.evaluate.measured import measured_queries
from recipekit.stages.evaluate.systems import baseline_system
from recipekit.stages.inputs import StageInputs

__all__ = ["Measured", "measure"]

Row = dict[str, Any]


@dataclass
class Measured:
    """What evaluators found."""

    rows: list[Row] = field(default_factory=list)
    """Rows by evaluator; rows of the reference have its `differences` to the others."""
    queries: list[DifferingQuery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the search of each system costs, as in `Efficiency`: that of the first evaluator."""


def measure(
    data: MeasuredData,
    models: Mapping[str, tuple[ComparedModel | ComparedRetriever, StageInputs]],
    published: Sequence[PublishedModel],
    reference: str,
    loaded: LoadedEncoder,
    scratch: Path,
    other_data: Collection[str] = (),
) -> Measured:
    """Measure every model with every evaluator.

    Args:
        data: The data and the evaluators.
        models: The models and retrievers with their inputs, by name.
        published: Baselines whose per-item values join those measured.
        reference: The name of the model that the others are compared with.
        loaded: The encoder in memory.
        scratch: A folder for rankings.
        other_data: The names of baselines that searched other data.
    """
    found = Measured()
    order = sorted(models, key=lambda name: name == reference)  # evaluators test the last system
    names = dict.fromkeys(slot.spec.data_name for slot in data.evaluators.values())
    for source in names:
        specs = {
            name: _without_variants(slot.spec)
            for name, slot in data.evaluators.items()
            if slot.spec.data_name == source
        }
        given = _on(data, source, data.inputs)
        searches = any(not spec.reads_texts for spec in specs.values())
        assert given.dataset is not None
        rows = measured_queries(specs.values(), given.dataset)
        systems: list[System] = []
        for name in order:
            model, inputs = models[name]
            own = _on(data, source, inputs)
            folder = scratch / "systems" / str(len(systems))
            if isinstance(model, ComparedModel):
                systems.append(system_of(model, own, loaded, rows, folder, searches=searches))
            elif searches:
                loaded.switch_to(own)
                systems.append(baseline_system(own, name, model.slot, rows, folder))
        for name, spec in specs.items():
            like = partial(_evaluator_like, data, name, other_data)
            _evaluate(found, name, spec, systems, given, published, like, reference, scratch)
    order_of = list(data.evaluators)
    found.rows.sort(key=lambda row: order_of.index(row["evaluator"]))
    return found


def _without_variants(spec: EvaluatorSpec) -> EvaluatorSpec:
    """An evaluator without compressed vectors and second stages of one of its systems.

    A comparison has compressed vectors as models of their own.
    """
    if not isinstance(spec, RetrievalSpec):
        return spec
    return spec.model_copy(update={"compression": (), "rerank": None})


def _on(data: MeasuredData, source: str | None, inputs: StageInputs) -> StageInputs:
    """The inputs on a further data set, or the same ones."""
    return inputs if source is None else with_data(inputs, source, data.sources[source])


def _evaluator_like(
    data: MeasuredData, name: str, other_data: Collection[str], model: PublishedModel
) -> str | None:
    """Return the evaluator of a baseline that measures the same; None without one."""
    slot, hashes = data.evaluators[name], data.inputs.hashes
    if searches_collected_data(slot.spec) and model.label in other_data:
        return None
    if not isinstance(slot.spec, RetrievalSpec):
        return model.like_slot(slot, hashes)
    source = slot.spec.source
    if source is None:
        return model.like(slot.spec)
    return model.like(slot.spec, parts_of_source(data.sources[source], hashes, data.seed))


def _evaluate(
    found: Measured,
    name: str,
    spec: EvaluatorSpec,
    systems: Sequence[System],
    inputs: StageInputs,
    published: Sequence[PublishedModel],
    like: Callable[[PublishedModel], str | None],
    reference: str,
    scratch: Path,
) -> None:
    """Measure the systems with one evaluator, and add what it finds."""
    folder = scratch / "rankings" / name
    measured = [dict(row) for row in spec.build(inputs.context(folder)).evaluate(systems)]
    if published and isinstance(spec, MtebSpec):
        measured, missing = _with_published_scores(
            name, spec, folder, measured, published, like, reference, inputs.seed
        )
        found.notes += missing
    elif published:
        own = _measured_values(folder, systems)
        if own and isinstance(spec, Resampling):
            theirs, missing = _published_values(name, own, measured, published, like)
            found.notes += missing
            if theirs:
                measured = _joined(spec, measured, {**own, **theirs}, reference, inputs.seed)
        else:
            labels = ", ".join(model.label for model in published)
            found.notes.append(
                f"'{name}' has no figures for {labels}: it keeps no per-item values."
            )
    if isinstance(spec, RetrievalSpec):
        for system, costs in read_costs(folder).items():
            found.costs.setdefault(system, costs)
    if any(system.name == reference for system in systems):
        others = [system.name for system in systems if system.name != reference]
        found.queries += _differing(name, spec, folder, inputs, others, reference)
    further = {} if spec.data_name is None else {"source": spec.data_name}
    found.rows += [{"evaluator": name, **further, **row} for row in measured]


def _differing(
    name: str,
    spec: EvaluatorSpec,
    folder: Path,
    inputs: StageInputs,
    others: Sequence[str],
    reference: str,
) -> list[DifferingQuery]:
    """Return the queries, or the items of a file, that differ most from the reference."""
    if isinstance(spec, RetrievalSpec):
        assert inputs.dataset is not None
        dataset, metric = inputs.dataset, spec.metrics[0]
        return differing_queries(folder, dataset, name, metric, others, reference)
    if isinstance(spec, EvaluationFile):
        return differing_items(folder, spec, folder, name, others, reference)
    return []


def _with_published_scores(
    evaluator: str,
    spec: MtebSpec,
    folder: Path,
    measured: Sequence[Row],
    published: Sequence[PublishedModel],
    like: Callable[[PublishedModel], str | None],
    reference: str,
    seed: int,
) -> tuple[list[Row], list[str]]:
    """Return rows with the published scores of the same tasks; and say which are missing."""
    scores: dict[str, TaskScores] = {}
    for system in dict.fromkeys(row["system"] for row in measured):
        own = [row for row in measured if row["system"] == system]
        scores[system] = task_scores(own, folder / "results" / system, MTEB_VALUES)
    notes = []
    for model in published:
        name = like(model)
        theirs = model.task_scores(name) if name is not None else None
        if theirs:
            scores[model.label] = theirs
        else:
            notes.append(f"{model.label} has no published scores that fit '{evaluator}'.")
    if len(notes) == len(published):
        return list(measured), notes
    return rows_of_scores(spec, scores, reference, seed), notes


def _measured_values(folder: Path, systems: Sequence[System]) -> dict[str, ItemValues]:
    """Return the values of every item that an evaluator kept, by system."""
    found = {}
    for system in systems:
        values = read_item_values(folder / PER_QUERY_FILE, system.name)
        if values is not None:
            found[system.name] = values
    return found


def _published_values(
    evaluator: str,
    own: Mapping[str, ItemValues],
    measured: Sequence[Row],
    published: Sequence[PublishedModel],
    like: Callable[[PublishedModel], str | None],
) -> tuple[dict[str, ItemValues], list[str]]:
    """Return the published values of the same items, by system; and say which are missing."""
    first = next(iter(own.values()))
    wanted = [metric for metric in _metrics(measured) if metric in first.metrics]
    found, notes = {}, []
    for model in published:
        name = like(model)
        theirs = None if name is None else model.values(name)
        if theirs is None or list(theirs.items) != list(first.items):
            notes.append(f"{model.label} has no published values that fit '{evaluator}'.")
            continue
        found[model.label] = theirs
        for metric in wanted:
            if metric not in theirs.metrics:
                notes.append(f"{model.label} has no published values of {metric}, '{evaluator}'.")
    return found, notes


def _joined(
    spec: Resampling,
    measured: Sequence[Row],
    values: Mapping[str, ItemValues],
    reference: str,
    seed: int,
) -> list[Row]:
    """Return rows of all systems by the metrics that values decide, and those measured by others.

    Rows of an evaluator with per-item values have the same split and kind of item.
    """
    shared: Row = {key: measured[0][key] for key in ("split", "item") if key in measured[0]}
    rows = rows_of_values(spec, values, _metrics(measured), reference, seed, shared)
    known = set(_metrics(rows))
    return [*rows, *(row for row in measured if row["metric"] not in known)]


def _metrics(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["metric"]) for row in rows))
