"""Chooses what a comparison measures, and checks that published values belong to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipekit.comparison.file_evaluators import DataEvaluator
from recipekit.comparison.measured_data import (
    MeasuredData,
    Workspace,
    of_recipe,
    of_run,
)
from recipekit.comparison.named_data import of_data
from recipekit.comparison.published import PublishedModel
from recipekit.comparison.resolve import NamedRun
from recipekit.errors import RunError
from recipekit.pipeline.search_run import run_artifacts
from recipekit.recipe.sections import Recipe
from recipekit.stages import dataset_stage_names

__all__ = ["ComparisonRequest", "check_data", "choose_data"]


@dataclass(frozen=True)
class ComparisonRequest:
    """What is measured, and against what."""

    recipe: Recipe | None = None
    """Whose evaluators and data are measured."""
    data: Path | None = None
    """What is measured instead."""
    metrics: Sequence[str] = ()
    """The metrics of `data`."""
    evaluator: DataEvaluator | None = None
    """The evaluator of `data`; by default, that of its kind."""
    against: str | None = None
    """The reference; by default the first argument."""
    command: str | None = None
    """The command that repeats the comparison, if there is one."""
    show_line: Callable[[str], None] = field(default=lambda line: None)
    """Receives lines for people."""


def choose_data(
    request: ComparisonRequest, named: Mapping[str, NamedRun], workspace: Workspace
) -> MeasuredData:
    """Return what a request measures: its data, the data of its recipe, or that of the runs.

    Args:
        request: The request.
        named: The runs among the arguments, by argument.
        workspace: Where results are kept.

    Raises:
        RecipekitError: There is nothing to measure, it cannot be read, or runs have other data.
    """
    if request.data is not None:
        return of_data(request.data, workspace, request.metrics, request.evaluator)
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
                f"{run.path} and {runs[0].path} have different data: choose what is measured, with "
                "--recipe or --on",
                code="RK675",
            )
    return first


def _data_keys(run: Path) -> list[str]:
    names = dataset_stage_names()
    return [artifact.key for name, artifact in run_artifacts(run) if name in names]


def check_data(
    data: MeasuredData | None, published: Sequence[PublishedModel]
) -> dict[str, RunError]:
    """Return why published values of searches cannot be compared, by the names of baselines.

    They belong to other data than the one that is measured, or than that of the first baseline.
    Values of evaluators with texts or a data set of their own can be compared all the same.

    Raises:
        RunError: That is so, and no evaluator has texts or a data set of its own.
    """
    if not published:
        return {}
    wanted, whose = published[0].data, published[0].argument.text
    only_searches = False
    if data is not None:
        wanted, whose = data.hashes(), data.text
        specs = [slot.spec for slot in data.evaluators.values()]
        only_searches = not any(spec.reads_texts or spec.data_name for spec in specs)
    found = {}
    for model in published:
        differing = [
            name for name in wanted if dict(model.data.get(name) or {}) != dict(wanted[name])
        ]
        if differing or not model.data:
            names = " and ".join(differing) or "data"
            found[model.label] = RunError(
                f"{model.argument.text}: its published values belong to other {names} than those "
                f"of {whose}, so they cannot be compared",
                code="RK675",
            )
            if only_searches:
                raise found[model.label]
    return found
