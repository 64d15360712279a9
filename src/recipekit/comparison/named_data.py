"""What is measured on a file or folder that is named: retrieval, or `sts` on scored pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from recipekit.comparison.measured_data import MeasuredData, Workspace
from recipekit.component import EvaluatorSpec, Slot, SourceSpec
from recipekit.errors import RunError
from recipekit.evaluators.retrieval import RetrievalSpec
from recipekit.evaluators.sts import StsSpec
from recipekit.registry import resolve
from recipekit.stages.evaluate.further_data import with_data
from recipekit.starter.columns import ColumnRoles, UnclearColumnsError
from recipekit.starter.data import FoundSource, UnreadableFolderError, find_source

__all__ = ["DataEvaluator", "of_data"]

DataEvaluator = Literal["retrieval", "sts"]
"""The evaluators that need no further key to measure a file."""

DATA_SEED: Final = 13
"""Decides resampling on data without a recipe; the default seed of recipes."""


def of_data(
    data: Path,
    workspace: Workspace,
    metrics: Sequence[str],
    evaluator: DataEvaluator | None = None,
) -> MeasuredData:
    """Return an evaluation of a folder in BEIR layout, or of a file that a source reads.

    Scored pairs are measured by `sts`, unless metrics of retrieval are named, and all other data by
    `retrieval`. Test queries are searched, or dev queries if there are no others, or all of them if
    the data names no splits.

    Args:
        data: The file or folder.
        workspace: Where results are kept.
        metrics: The metrics of retrieval; the usual ones if none are named.
        evaluator: The evaluator; by default, that of the kind of data.

    Raises:
        DataError: No source reads it, or it has no query with a positive.
        RunError: The evaluator cannot measure it.
    """
    found = _found_source(data)
    slot: Slot[SourceSpec] = Slot(use=found.use, **found.keys)
    slot.bind(resolve("source", found.use), found.spec)
    has_scores = found.roles is not None and found.roles.has_scores
    chosen = evaluator or ("sts" if has_scores and not metrics else "retrieval")
    spec: EvaluatorSpec
    if chosen == "sts":
        spec = _sts(data, found, metrics)
    else:
        named = {"metrics": tuple(metrics)} if metrics else {}
        spec = RetrievalSpec(split=found.evaluated or "test", **named)
    measured: Slot[EvaluatorSpec] = Slot(use=chosen)
    measured.bind(resolve("evaluator", chosen), spec)
    name = data.absolute().name
    notes = [] if found.roles is None else _notes(data, found.roles, chosen)
    for note in notes:  # before the work, which may take long
        workspace.progress.info(note)
    inputs = with_data(workspace.inputs(name, DATA_SEED), name, slot)
    return MeasuredData(f"{chosen} on {data}", inputs, {name: measured}, {}, DATA_SEED, notes)


def _sts(data: Path, found: FoundSource, metrics: Sequence[str]) -> StsSpec:
    """Return the evaluator of scored pairs.

    Raises:
        RunError: The data has no scores, or metrics of retrieval are named.
    """
    roles = found.roles
    if roles is None or roles.score is None:
        raise RunError(
            f"{data}: sts measures a file with two texts and a score in each row, and this has no "
            "column of scores such as 'score'; name the columns in a recipe with --recipe",
            code="RK674",
        )
    if metrics:
        raise RunError(
            f"{metrics[0]} is a metric of retrieval, and {data} is to be measured by sts",
            code="RK674",
        )
    keys: dict[str, Any] = {**found.keys, "first": roles.query, "second": roles.positive}
    return StsSpec(file=data.absolute(), score=roles.score, **keys)


def _notes(data: Path, roles: ColumnRoles, chosen: DataEvaluator) -> list[str]:
    """Return how labels or scores in a file are used, and how to choose something else."""
    if chosen == "sts":
        return [
            f"{data} has pairs with a score ('{roles.score}'), so similarities are correlated with "
            "the scores. `--evaluator retrieval` searches instead."
        ]
    instead = "`--evaluator sts` correlates similarities with them instead."
    if roles.label is not None:
        column = f"the column '{roles.label}' of {data}"
        note = f"Positives are the rows with a grade above 0 in {column}."
        return [f"{note} {instead}" if roles.score else note]
    if roles.unused_label is None:
        return []
    note = (
        f"Every row of {data} counts as a positive: the column '{roles.unused_label}' does not "
        "hold whole grades from 0 to 10."
    )
    if roles.has_scores:
        return [f"{note} {instead}"]
    return [f"{note} For other labels, name a recipe with the evaluator `pairs` with --recipe."]


def _found_source(data: Path) -> FoundSource:
    """Find the source that reads the data; errors name the option that helps."""
    try:
        return find_source(data)
    except UnclearColumnsError as error:
        advice = "use --recipe RECIPE, a recipe that names the columns, in place of --on"
        raise error.with_message(f"{error}; {advice}") from error
    except UnreadableFolderError as error:
        raise error.with_option("--on") from None
