"""Measures the models with all evaluators, the reference against each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.comparison.differing import (
    DifferingQuery,
    differing_queries,
    read_costs,
    read_values,
)
from recipekit.comparison.measured_data import MeasuredData
from recipekit.comparison.models import ComparedModel
from recipekit.comparison.published import PublishedModel
from recipekit.comparison.retrievers import ComparedRetriever
from recipekit.comparison.systems import LoadedEncoder, system_of
from recipekit.component import EvaluatorSpec, Slot, System
from recipekit.evaluators.comparison_rows import comparison_rows
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.evaluators.statistics import bootstrap_means
from recipekit.stages.evaluate.further_data import with_data
from recipekit.stages.evaluate.measured import measured_queries
from recipekit.stages.evaluate.systems import baseline_system
from recipekit.stages.inputs import StageInputs

__all__ = ["Measured", "measure", "published_rows"]

Row = dict[str, Any]
Values = Mapping[str, Mapping[int, float]]
"""Values of every query or item of a file, by system."""


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
) -> Measured:
    """Measure every model with every evaluator.

    Args:
        data: The data and the evaluators.
        models: The models and retrievers with their inputs, by name.
        published: Baselines whose values of single items join those measured.
        reference: The name of the model that the others are compared with.
        loaded: The encoder in memory.
        scratch: A folder for rankings.
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
            like = partial(_evaluator_like, spec, data.evaluators[name], given)
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
    spec: EvaluatorSpec, slot: Slot[EvaluatorSpec], inputs: StageInputs, model: PublishedModel
) -> str | None:
    """Return the evaluator of a baseline that measures the same; None without one."""
    if isinstance(spec, RetrievalSpec):
        return model.like(spec)
    return model.like_slot(slot, inputs.hashes)


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
    values = _values(folder, systems, measured)
    if published and values:
        assert isinstance(spec, Resampling)
        joined, missing = _with_published(name, values, published, like)
        found.notes += missing
        if any(len(joined[metric]) > len(values[metric]) for metric in values):
            shared = {key: measured[0][key] for key in ("split", "item") if key in measured[0]}
            not_joined = [row for row in measured if row["metric"] not in values]
            measured = [*published_rows(spec, joined, reference, inputs.seed, shared), *not_joined]
    elif published:
        labels = ", ".join(model.label for model in published)
        found.notes.append(
            f"'{name}' has no figures of {labels}: published values are compared for metrics of "
            "retrieval, reranking, triplets and bitext."
        )
    if isinstance(spec, RetrievalSpec):
        for system, costs in read_costs(folder).items():
            found.costs.setdefault(system, costs)
        if any(system.name == reference for system in systems):
            others = [system.name for system in systems if system.name != reference]
            assert inputs.dataset is not None
            found.queries += differing_queries(
                folder, inputs.dataset, name, spec.metrics[0], others, reference
            )
    further = {} if spec.data_name is None else {"source": spec.data_name}
    found.rows += [{"evaluator": name, **further, **row} for row in measured]


def _values(
    folder: Path, systems: Sequence[System], rows: Sequence[Row]
) -> dict[str, dict[str, Mapping[int, float]]]:
    """Return the values of every item by metric and system, for metrics that are their means."""
    found: dict[str, dict[str, Mapping[int, float]]] = {}
    for metric in dict.fromkeys(str(row["metric"]) for row in rows):
        for system in systems:
            values = read_values(folder, system.name, metric)
            if values:
                found.setdefault(metric, {})[system.name] = values
    return found


def _with_published(
    evaluator: str,
    values: Mapping[str, Values],
    published: Sequence[PublishedModel],
    like: Callable[[PublishedModel], str | None],
) -> tuple[dict[str, dict[str, Mapping[int, float]]], list[str]]:
    """Add published values to those measured, by metric and system; and say which are missing."""
    joined = {metric: dict(by_system) for metric, by_system in values.items()}
    notes = []
    for model in published:
        own = like(model)
        if own is None:
            notes.append(f"{model.label} has no published values that fit '{evaluator}'.")
            continue
        for metric, by_system in joined.items():
            theirs = model.values(own, metric)
            if theirs and theirs.keys() == next(iter(by_system.values())).keys():
                by_system[model.label] = theirs
            else:
                notes.append(f"{model.label} has no published values of {metric}, '{evaluator}'.")
    return joined, notes


def published_rows(
    spec: Resampling,
    values: Mapping[str, Values],
    reference: str,
    seed: int,
    shared: Mapping[str, Any],
) -> list[Row]:
    """Return rows of metrics whose values of every query or item are known, as evaluators do.

    Args:
        spec: How intervals are computed.
        values: The values of every item, by metric and system.
        reference: The system that is tested against the others.
        seed: Seed of the bootstrap.
        shared: Keys that all rows have, such as `split`.
    """
    rows: list[Row] = []
    for metric, by_system in values.items():
        if not by_system:
            continue
        systems = sorted(by_system, key=lambda name: name == reference)
        queries = sorted(by_system[systems[0]])
        table = np.array([[by_system[name][query] for name in systems] for query in queries])
        observed = table.mean(axis=0)[:, None]
        sampled = bootstrap_means(table, spec.bootstrap_samples, seed)[:, :, None]
        counted = {**shared, "queries": len(queries)}
        found = comparison_rows(spec, systems, [metric], observed, sampled, counted)
        if systems[-1] != reference:  # the reference has no such metric, so nothing is tested
            found = list(_without_differences(found))
        rows += found
    return rows


def _without_differences(rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        yield {key: value for key, value in row.items() if key != "differences"}
