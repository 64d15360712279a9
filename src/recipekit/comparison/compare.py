"""Compares models: measures, tests, and collects what is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from recipekit.comparison.alike import searches_collected_data
from recipekit.comparison.candidates import Candidate
from recipekit.comparison.choose_data import ComparisonRequest, check_data, choose_data
from recipekit.comparison.efficiency import EncoderFacts, encoder_facts
from recipekit.comparison.item_values import rows_of_values
from recipekit.comparison.measure import Measured, measure
from recipekit.comparison.measured_data import MeasuredData, Workspace
from recipekit.comparison.models import ComparedModel
from recipekit.comparison.mteb_scores import rows_of_scores
from recipekit.comparison.published import PublishedModel
from recipekit.comparison.resolve import NamedRun
from recipekit.comparison.result import Comparison, ModelFacts
from recipekit.comparison.retrievers import ComparedRetriever
from recipekit.comparison.systems import LoadedEncoder
from recipekit.comparison.verdicts import Tested, differences_to
from recipekit.component import Efficiency
from recipekit.errors import RunError
from recipekit.evaluators.mteb import MtebSpec
from recipekit.evaluators.resampling import Resampling
from recipekit.suggestions import did_you_mean

__all__ = ["compare"]


def compare(
    models: Sequence[Candidate],
    runs: Mapping[str, NamedRun],
    request: ComparisonRequest,
    workspace: Workspace,
) -> Comparison:
    """Compare models.

    Args:
        models: The models, from `candidates_of`.
        runs: The runs among them, by argument.
        request: What is measured, and against what.
        workspace: Where results are kept, and how progress is shown.

    Raises:
        RecipekitError: Models or data do not fit together, or a model cannot be measured.
    """
    reference = _reference(request, models)
    published = [model for model in models if isinstance(model, PublishedModel)]
    data = choose_data(request, runs, workspace) if len(published) < len(models) else None
    other_data = check_data(data, published)
    facts: dict[str, EncoderFacts] = {}
    if data is None:
        found = _published_alone(published, reference.label, other_data)
    else:
        found, facts = _measured(models, data, reference.label, workspace, other_data)
    _check_found(found, models, other_data)
    made_from = _made_from(models, reference)
    tested = differences_to(found.rows, reference.label, lambda name: made_from[name])
    return Comparison(
        measured=data.text if data else f"the published values of {models[0].argument.text}",
        passages=len(data.dataset.passages) if data else None,
        reference=reference.label,
        models=[_facts(model, facts.get(model.label), found) for model in models],
        metric_rows=_rows(found.rows, tested, [model.label for model in models]),
        tested=tested,
        queries=found.queries,
        notes=list(dict.fromkeys([*(data.notes if data else ()), *found.notes])),
    )


def _measured(
    models: Sequence[Candidate],
    data: MeasuredData,
    reference: str,
    workspace: Workspace,
    other_data: Collection[str],
) -> tuple[Measured, dict[str, EncoderFacts]]:
    """Measure models and retrievers, and return the facts about the encoders of models, by name."""
    published = [model for model in models if isinstance(model, PublishedModel)]
    own = {
        model.label: (model, model.encoders.inputs(data.inputs))
        for model in models
        if not isinstance(model, PublishedModel)
    }
    loaded = LoadedEncoder()
    facts = {
        name: encoder_facts(model, inputs, loaded)
        for name, (model, inputs) in own.items()
        if isinstance(model, ComparedModel)
    }
    folder = workspace.scratch
    return measure(data, own, published, reference, loaded, folder, other_data), facts


def _reference(request: ComparisonRequest, models: Sequence[Candidate]) -> Candidate:
    if request.against is None:
        return models[0]
    for model in models:
        if request.against in (model.argument.text, model.label):
            return model
    names = [model.argument.text for model in models]
    hint = did_you_mean(request.against, names) or f" They are: {', '.join(names)}."
    raise RunError(f"--against {request.against}: not one of the models.{hint}", code="RK670")


def _made_from(models: Sequence[Candidate], reference: Candidate) -> dict[str, bool]:
    """Whether each model was made from the reference; of a baseline only the recipe is known."""
    found = {}
    for model in models:
        if isinstance(model, ComparedRetriever) or isinstance(reference, ComparedRetriever):
            found[model.label] = False
        elif isinstance(model, ComparedModel) and isinstance(reference, ComparedModel):
            found[model.label] = model.is_made_from(reference)
        elif isinstance(reference, PublishedModel) and not reference.is_encoder:
            found[model.label] = False
        else:
            found[model.label] = model.is_trained and model.recipe == reference.recipe
    return found


def _published_alone(
    published: Sequence[PublishedModel], reference: str, other_data: Collection[str]
) -> Measured:
    """Compare the published values of baselines, without any model or data."""
    found = Measured()
    first, *others = published
    for name, spec in first.evaluators.items():
        alike = [(first, name)]
        for model in others:
            theirs = _published_like(model, first, name, other_data)
            if theirs is None:
                found.notes.append(f"{model.label} has no published values that fit '{name}'.")
            else:
                alike.append((model, theirs))
        if isinstance(spec, MtebSpec):
            scores = {model.label: model.task_scores(own) for model, own in alike}
            rows = rows_of_scores(spec, scores, reference, first.seed)
        else:
            rows = _rows_of_items(alike, spec, reference, found.notes)
        found.rows += [{"evaluator": name, **row} for row in rows]
    return found


def _published_like(
    model: PublishedModel, other: PublishedModel, evaluator: str, other_data: Collection[str]
) -> str | None:
    """Return the evaluator of a baseline that measured as one of another; None without one."""
    if searches_collected_data(other.evaluators[evaluator]) and model.label in other_data:
        return None
    return model.like_published(other, evaluator)


def _rows_of_items(
    alike: Sequence[tuple[PublishedModel, str]],
    spec: Resampling,
    reference: str,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Return rows from published per-item values, and note which are missing.

    Args:
        alike: The evaluator of each baseline.
        spec: How intervals are computed.
        reference: The system that is tested against the others.
        notes: What people should know.
    """
    (first, name), *others = alike
    own, written = first.values(name), first.rows(name)
    if own is None or not written:
        notes.append(f"{first.label} has no published per-item values for '{name}'.")
        return []
    values = {first.label: own}
    for model, theirs in others:
        items = model.values(theirs)
        if items is None or list(items.items) != list(own.items):
            notes.append(f"{model.label} has no published values that fit '{name}'.")
        else:
            values[model.label] = items
    shared: dict[str, Any] = {
        key: written[0][key] for key in ("split", "item") if key in written[0]
    }
    metrics = [str(row["metric"]) for row in written]
    return rows_of_values(spec, values, metrics, reference, first.seed, shared)


def _check_found(
    found: Measured, models: Sequence[Candidate], other_data: Mapping[str, RunError]
) -> None:
    """Check that a baseline or a retriever has any figures."""
    systems = {row["system"] for row in found.rows}
    for model in models:
        if model.label in systems:
            continue
        if model.label in other_data:
            raise other_data[model.label]
        if isinstance(model, PublishedModel):
            reason = "it has no published per-item values for what is measured here"
            raise RunError(f"{model.argument.text}: {reason}", code="RK675")
        if isinstance(model, ComparedRetriever):
            reason = "no evaluator searches, so there is nothing to measure a retriever by"
            raise RunError(f"{model.argument.text}: {reason}", code="RK675")


# Results
# -------------------------------------------------------------------------------------------------


def _facts(model: Candidate, facts: EncoderFacts | None, found: Measured) -> ModelFacts:
    """What is known about a model, with the time and the index of its search."""
    if isinstance(model, PublishedModel):
        return _published_facts(model)
    searched = found.costs.get(model.label, {})
    if isinstance(model, ComparedRetriever):  # what its encoders cost was not measured here
        searched = {name: searched.get(name) for name in ("index_bytes", "search_ms_per_query")}
    efficiency = facts.efficiency if facts else Efficiency()
    own = model if isinstance(model, ComparedModel) else None
    compression = model.argument.compression
    return ModelFacts(
        name=model.label,
        argument=model.argument.text,
        what=model.what,
        vectors=(compression.name if compression else "fp32") if facts else None,
        licence=own.licence if own else None,
        base_model=own.base_model if own else None,
        max_length=facts.max_length if facts else None,
        similarity=facts.similarity if facts else None,
        efficiency=replace(efficiency, **searched),
    )


def _published_facts(model: PublishedModel) -> ModelFacts:
    """What a baseline states about its model."""
    own = model.facts
    return ModelFacts(
        name=model.label,
        argument=model.argument.text,
        what=model.what,
        licence=own.licence,
        base_model=own.base_model,
        max_length=own.max_length,
        similarity=own.similarity,
        efficiency=model.efficiency,
        is_published=True,
    )


def _rows(
    rows: Sequence[Mapping[str, Any]], tested: Sequence[Tested], order: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows in the order of the models, with the differences of each to the reference."""
    tests = {(t.evaluator, t.split, t.model, t.metric): t for t in tested}
    evaluators = list(dict.fromkeys(row["evaluator"] for row in rows))
    found = []
    for row in rows:
        own = {key: value for key, value in row.items() if key != "differences"}
        test = tests.get((row["evaluator"], row.get("split") or "", row["system"], row["metric"]))
        if test is not None and test.p_adjusted is not None:
            difference = {
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "p_value": test.p_value,
                "p_adjusted": test.p_adjusted,
            }
            own["differences"] = {test.reference: difference}
        found.append(own)
    metrics = list(dict.fromkeys((row["evaluator"], row["metric"]) for row in rows))
    return sorted(
        found,
        key=lambda row: (
            evaluators.index(row["evaluator"]),
            order.index(row["system"]),
            metrics.index((row["evaluator"], row["metric"])),
        ),
    )
