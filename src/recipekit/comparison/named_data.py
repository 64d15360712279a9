"""What is measured on a file or folder that is named, by the kind of its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recipekit.comparison.file_evaluators import DataEvaluator, evaluator_of, usual_evaluator
from recipekit.comparison.measured_data import MeasuredData, Workspace
from recipekit.component import EvaluatorSpec, Slot, SourceSpec
from recipekit.registry import resolve
from recipekit.stages.evaluate.further_data import with_data
from recipekit.starter.columns import ColumnRoles, UnclearColumnsError
from recipekit.starter.data import FoundSource, UnreadableFolderError, find_source

__all__ = ["of_data"]

DATA_SEED: Final = 13
"""Decides resampling on data without a recipe; the default seed of recipes."""


def of_data(
    data: Path,
    workspace: Workspace,
    metrics: Sequence[str],
    evaluator: DataEvaluator | None = None,
) -> MeasuredData:
    """Return an evaluation of a folder in BEIR layout, or of a file that a source reads.

    Scored pairs are measured by `sts` and NLI pairs by `pairs`, unless metrics of retrieval are
    named, and all other data by `retrieval`. Test queries are searched, or dev queries if there are
    no others, or all of them if the data names no splits.

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
    chosen = evaluator or usual_evaluator(found, metrics)
    spec = evaluator_of(data, found, chosen, metrics)
    measured: Slot[EvaluatorSpec] = Slot(use=chosen)
    measured.bind(resolve("evaluator", chosen), spec)
    name = data.absolute().name
    notes = [] if found.roles is None else _notes(data, found.roles, chosen)
    for note in notes:  # before the work, which may take long
        workspace.progress.info(note)
    inputs = with_data(workspace.inputs(name, DATA_SEED), name, slot)
    return MeasuredData(f"{chosen} on {data}", inputs, {name: measured}, {}, DATA_SEED, notes)


def _notes(data: Path, roles: ColumnRoles, chosen: DataEvaluator) -> list[str]:
    """Return how labels or scores in a file are used, and how to choose something else."""
    if chosen == "sts":
        return [
            f"{data} has pairs with a score ('{roles.score}'), so similarities are correlated with "
            "the scores. `--evaluator retrieval` searches instead."
        ]
    if chosen == "pairs":
        column = roles.label or roles.unused_label
        return [
            f"{data} has labelled pairs ('{column}'), so similarity has to separate the positive "
            "ones from the others. `--evaluator retrieval` searches instead."
        ]
    if chosen != "retrieval":
        return []
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
    return [f"{note} `--evaluator pairs` separates labels such as true and false."]


def _found_source(data: Path) -> FoundSource:
    """Find the source that reads the data; errors name the option that helps."""
    try:
        return find_source(data)
    except UnclearColumnsError as error:
        advice = "use --recipe RECIPE, a recipe that names the columns, in place of --on"
        raise error.with_message(f"{error}; {advice}") from error
    except UnreadableFolderError as error:
        raise error.with_option("--on") from None
