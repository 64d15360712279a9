"""Compares models: resolves the arguments, measures, tests, and collects what is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recipekit.comparison.arguments import parse_argument
from recipekit.comparison.efficiency import Size, Speed, size_of, speed_of
from recipekit.comparison.measure import Measured, measure, published_rows
from recipekit.comparison.measured_data import (
    MeasuredData,
    Workspace,
    of_data,
    of_recipe,
    of_run,
)
from recipekit.comparison.models import ComparedModel, check_models
from recipekit.comparison.published import PublishedModel
from recipekit.comparison.resolve import NamedRun, Resolver
from recipekit.comparison.result import Comparison, ModelFacts
from recipekit.comparison.systems import LoadedEncoder
from recipekit.comparison.verdicts import Tested, differences_to
from recipekit.errors import RunError
from recipekit.pipeline.search_run import run_artifacts
from recipekit.recipe.sections import Recipe
from recipekit.stages import PIPELINE
from recipekit.suggestions import did_you_mean

__all__ = ["Request", "compare", "resolve_models"]

Model = ComparedModel | PublishedModel


@dataclass(frozen=True)
class Request:
    """What is measured, and against what."""

    recipe: Recipe | None = None
    """Whose evaluators and data are measured."""
    data: Path | None = None
    """What is measured instead."""
    metrics: Sequence[str] = ()
    """The metrics of `data`."""
    against: str | None = None
    """The reference; by default the first argument."""
    command: str = "recipekit compare"
    """The command that resumes a failed run."""
    show_line: Callable[[str], None] = field(default=lambda line: None)
    """Receives lines for people."""


def compare(
    models: Sequence[Model], runs: Mapping[str, NamedRun], request: Request, workspace: Workspace
) -> Comparison:
    """Compare models.

    Args:
        models: The models, from `resolve_models`.
        runs: The runs among them, by argument.
        request: What is measured, and against what.
        workspace: Where results are kept, and how progress is shown.

    Raises:
        RecipekitError: Models or data do not fit together, or a model cannot be measured.
    """
    reference = _reference(request, models)
    measured = [model for model in models if isinstance(model, ComparedModel)]
    published = [model for model in models if isinstance(model, PublishedModel)]
    data = _data(request, runs, workspace) if measured else None
    _check_data(data, published)
    if data is None:
        found = _published_alone(published, reference.label)
        facts = [_facts(model) for model in models]
    else:
        loaded = LoadedEncoder()
        own = {model.label: (model, model.inputs(data.inputs)) for model in measured}
        costs = {
            name: (size_of(*each, loaded), speed_of(*each, loaded)) for name, each in own.items()
        }
        found = measure(data, own, published, reference.label, loaded, workspace.scratch)
        facts = [_facts(model, *costs.get(model.label, (None, None))) for model in models]
    _check_found(found, published)
    made_from = _made_from(models, reference)
    tested = differences_to(found.rows, reference.label, lambda name: made_from[name])
    return Comparison(
        measured=data.text if data else f"the published values of {models[0].argument.text}",
        passages=len(data.dataset.passages) if data else None,
        reference=reference.label,
        models=facts,
        rows=_rows(found.rows, tested, [model.label for model in models]),
        tested=tested,
        queries=found.queries,
        notes=list(dict.fromkeys(found.notes)),
    )


# Arguments
# -------------------------------------------------------------------------------------------------


def resolve_models(arguments: Sequence[str], resolver: Resolver) -> list[Model]:
    """Return the models that arguments name, each with a name of its own.

    Raises:
        RecipekitError: There are fewer than two, one names nothing, or their kinds differ.
    """
    if len(arguments) < 2:
        raise RunError(
            "compare needs two models at least: the reference, and one to compare with it",
            code="RK670",
        )
    twice = next((text for text, count in Counter(arguments).items() if count > 1), None)
    if twice is not None:
        raise RunError(f"{twice} is named twice", code="RK670")
    parsed = [parse_argument(text) for text in arguments]
    models = [resolver.resolve(argument) for argument in parsed]
    check_models([model for model in models if isinstance(model, ComparedModel)])
    names = _names([model.label for model in models], arguments)
    return [replace(model, label=name) for model, name in zip(models, names, strict=True)]


def _names(labels: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return names for tables, one for each model: its label, or what was typed, or a number.

    Evaluators use them as names of folders, too.
    """
    counts = Counter(labels)
    names: list[str] = []
    for label, argument in zip(labels, arguments, strict=True):
        text = argument if counts[label] > 1 else label
        name = wanted = text.replace("/", "-").strip(".-")
        number = 1
        while name in names:
            number += 1
            name = f"{wanted} {number}"
        names.append(name)
    return names


def _reference(request: Request, models: Sequence[Model]) -> Model:
    if request.against is None:
        return models[0]
    for model in models:
        if request.against in (model.argument.text, model.label):
            return model
    names = [model.argument.text for model in models]
    hint = did_you_mean(request.against, names) or f" They are: {', '.join(names)}."
    raise RunError(f"--against {request.against}: not one of the models.{hint}", code="RK670")


def _made_from(models: Sequence[Model], reference: Model) -> dict[str, bool]:
    """Whether each model was made from the reference; of a baseline only the recipe is known."""
    found = {}
    for model in models:
        if isinstance(model, ComparedModel) and isinstance(reference, ComparedModel):
            found[model.label] = model.is_made_from(reference)
        else:
            found[model.label] = model.is_trained and model.recipe == reference.recipe
    return found


# Data
# -------------------------------------------------------------------------------------------------


def _data(request: Request, named: Mapping[str, NamedRun], workspace: Workspace) -> MeasuredData:
    if request.data is not None:
        return of_data(request.data, workspace, request.metrics)
    if request.recipe is not None:
        return of_recipe(
            request.recipe, workspace, command=request.command, show_line=request.show_line
        )
    runs = list(named.values())
    if not runs:
        raise RunError(
            "there is nothing to measure: name a recipe with --recipe, whose evaluators are used, "
            "or data with --on",
            code="RK674",
        )
    first = of_run(runs[0], workspace)
    for run in runs[1:]:
        if _data_keys(run.path) == _data_keys(runs[0].path):
            continue
        if of_run(run, workspace).hashes() != first.hashes():
            raise RunError(
                f"{run.path} has other data than {runs[0].path}: choose what is measured, with "
                "--recipe or --on",
                code="RK675",
            )
    return first


def _data_keys(run: Path) -> list[str]:
    names = [stage.name for stage in PIPELINE if stage.extends_dataset]
    return [artifact.key for name, artifact in run_artifacts(run) if name in names]


def _check_data(data: MeasuredData | None, published: Sequence[PublishedModel]) -> None:
    """Check that published values belong to the data that is measured.

    Raises:
        RunError: They do not.
    """
    if not published:
        return
    wanted, whose = published[0].data, published[0].argument.text
    if data is not None:
        wanted, whose = data.hashes(), data.text
    for model in published:
        differing = [
            name for name in wanted if dict(model.data.get(name) or {}) != dict(wanted[name])
        ]
        if differing or not model.data:
            names = " and ".join(differing) or "data"
            raise RunError(
                f"{model.argument.text}: its published values belong to other {names} than those "
                f"of {whose}, so they cannot be compared",
                code="RK675",
            )


def _published_alone(published: Sequence[PublishedModel], reference: str) -> Measured:
    """Compare the published values of baselines, without any model or data."""
    found = Measured()
    first = published[0]
    for name, spec in first.evaluators.items():
        values: dict[str, dict[str, Mapping[int, float]]] = {}
        for metric in spec.metrics:
            values[metric] = {}
            for model in published:
                own = model.like(spec)
                theirs = model.values(own, metric) if own is not None else {}
                if theirs:
                    values[metric][model.label] = theirs
        rows = published_rows(spec, values, reference, first.seed)
        found.rows += [{"evaluator": name, **row} for row in rows]
    return found


def _check_found(found: Measured, published: Sequence[PublishedModel]) -> None:
    systems = {row["system"] for row in found.rows}
    for model in published:
        if model.label not in systems:
            raise RunError(
                f"{model.argument.text}: it has no published values of single queries that fit "
                "what is measured here",
                code="RK675",
            )


# Results
# -------------------------------------------------------------------------------------------------


def _facts(model: Model, size: Size | None = None, speed: Speed | None = None) -> ModelFacts:
    own = model if isinstance(model, ComparedModel) else None
    compression = model.argument.compression
    return ModelFacts(
        name=model.label,
        argument=model.argument.text,
        what=model.what,
        vectors=compression.name if compression else "fp32",
        licence=own.licence if own else None,
        base_model=own.base_model if own else None,
        size=size,
        speed=speed,
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
