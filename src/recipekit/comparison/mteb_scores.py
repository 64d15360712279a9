"""Scores of mteb's tasks, measured here or published, and the rows that they give together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipekit.comparison.item_values import without_differences
from recipekit.evaluators.mteb_rows import MainScore, mteb_rows
from recipekit.evaluators.mteb_values_file import EntryValues, read_values
from recipekit.evaluators.resampling import Resampling

__all__ = ["TaskScores", "rows_of_scores", "task_scores"]

TaskScores = Mapping[str, Sequence[MainScore]]
"""The score of every split and subset, by a task's name and its main metric: `NFCorpus ndcg_at_10`.
"""


def task_scores(
    rows: Iterable[Mapping[str, Any]], folder: Path, suffix: str = ".json"
) -> TaskScores:
    """Return the scores of a system from its rows and the files of its queries' scores.

    Args:
        rows: The rows of an `mteb` evaluator for this system.
        folder: The folder with a file for each task that measures single queries.
        suffix: The end of the files' names, after the task's.

    Raises:
        ValueError: A file is damaged.
        OSError: A file cannot be read.
    """
    scores: dict[str, list[MainScore]] = {}
    wholes: dict[str, float] = {}
    values: dict[str, EntryValues] = {}
    for row in rows:
        task, *words = str(row["metric"]).split(" ", 2)
        if not words:  # the mean over tasks
            continue
        label = f"{task} {words[0]}"
        if task not in values:
            values[task] = read_values(folder / f"{task}{suffix}")
        if len(words) == 1:
            wholes[label] = float(row["value"])
            continue
        split, _, subset = words[1].partition(" ")
        score = MainScore(words[1], float(row["value"]), values[task].get((split, subset), {}))
        scores.setdefault(label, []).append(score)
    found = {}
    for label, whole in wholes.items():
        entries = values[label.partition(" ")[0]]
        only = next(iter(entries.values())) if len(entries) == 1 else {}
        found[label] = scores.get(label) or [MainScore("", whole, only)]
    return found


def rows_of_scores(
    spec: Resampling, scores: Mapping[str, TaskScores], reference: str, seed: int
) -> list[dict[str, Any]]:
    """Return rows of systems with the same tasks, as the evaluator does.

    Args:
        spec: How intervals are computed.
        scores: The scores of each system.
        reference: The system that is tested against the others.
        seed: Seed of the bootstrap.
    """
    order = sorted(scores, key=lambda name: name == reference)
    rows = mteb_rows(spec, {name: scores[name] for name in order}, seed)
    return rows if reference in scores else without_differences(rows)
