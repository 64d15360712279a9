"""Rows of mteb's scores, with intervals and tests where single queries have values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.evaluators.comparison_rows import comparison_rows
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistics import bootstrap_means

__all__ = ["MainScore", "mteb_rows"]

Values = npt.NDArray[np.float64]
Row = dict[str, Any]

ROUNDING: Final = 1e-4
"""mteb rounds its scores to five digits."""


@dataclass(frozen=True)
class MainScore:
    """The main score of a split and subset of a task."""

    label: str
    """The split and the subset: `test eng`."""
    score: float
    queries: Mapping[str, float] = field(default_factory=dict)
    """The score of every query by its id; empty where mteb gives none."""


def mteb_rows(
    spec: Resampling,
    scores: Mapping[str, Mapping[str, Sequence[MainScore]]],
    seed: int,
) -> list[Row]:
    """Return a row for each system and metric: the mean over tasks, each task, and its parts.

    A metric whose score is the mean of the values of single queries has an interval, and the last
    system's differences to the others are tested. Queries are resampled within their subset.

    Args:
        spec: How intervals are computed.
        scores: The entries of each task, by its label, and by system.
        seed: Seed of the bootstrap.
    """
    systems = list(scores)
    figures = {system: _figures(tasks) for system, tasks in scores.items()}
    sampled = _sampled(spec, scores, seed)
    tested = [metric for metric in figures[systems[-1]] if metric in sampled]
    shared: Row = {"split": "", "low": None, "high": None, "queries": _count(scores)}
    rows = [
        {**shared, "system": system, "metric": metric, "value": value}
        for system in systems
        for metric, value in figures[system].items()
    ]
    if not tested:
        return rows
    observed = np.array([[figures[system][metric] for metric in tested] for system in systems])
    samples = np.stack([sampled[metric] for metric in tested], axis=2)
    found = comparison_rows(spec, systems, tested, observed, samples, shared)
    by_place = {(row["system"], row["metric"]): row for row in found}
    return [by_place.get((row["system"], row["metric"]), row) for row in rows]


def _figures(tasks: Mapping[str, Sequence[MainScore]]) -> dict[str, float]:
    """The scores of a system by metric, the mean over several tasks first."""
    found: dict[str, float] = {}
    for label, entries in tasks.items():
        found[label] = float(np.mean([entry.score for entry in entries]))
        if len(entries) > 1:
            found |= {f"{label} {entry.label}": entry.score for entry in entries}
    if len(tasks) < 2:
        return found
    return {"mean": float(np.mean([found[label] for label in tasks])), **found}


def _sampled(
    spec: Resampling, scores: Mapping[str, Mapping[str, Sequence[MainScore]]], seed: int
) -> dict[str, Values]:
    """The metrics in each bootstrap sample, (samples, systems), where they can be resampled."""
    found: dict[str, Values] = {}
    labels = list(next(iter(scores.values())))
    number = 0
    for label in labels:
        parts: list[Values] = []
        by_system = [tasks[label] for tasks in scores.values()]
        for entries in zip(*by_system, strict=True):
            table = _table(entries)
            if table is not None:
                # Equal seeds would draw the same queries of subsets of the same size.
                parts.append(bootstrap_means(table, spec.bootstrap_samples, seed + number))
                found[f"{label} {entries[0].label}"] = parts[-1]
            number += 1
        if len(parts) == len(by_system[0]):
            found[label] = np.mean(parts, axis=0)
    if all(label in found for label in labels):
        found["mean"] = np.mean([found[label] for label in labels], axis=0)
    return found


def _table(entries: Sequence[MainScore]) -> Values | None:
    """The values of the same queries by all systems, (queries, systems); None without them."""
    queries = entries[0].queries.keys()
    if not queries or any(entry.queries.keys() != queries for entry in entries):
        return None
    table = np.array([[entry.queries[query] for entry in entries] for query in sorted(queries)])
    differences = table.mean(axis=0) - [entry.score for entry in entries]
    return table if np.abs(differences).max() <= ROUNDING else None


def _count(scores: Mapping[str, Mapping[str, Sequence[MainScore]]]) -> int | None:
    """The queries of the only entry; None for several, or without values of single queries."""
    entries = list(chain.from_iterable(next(iter(scores.values())).values()))
    return len(entries[0].queries) or None if len(entries) == 1 else None
