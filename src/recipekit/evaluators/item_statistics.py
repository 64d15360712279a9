"""Statistics of a system from per-item values, which `per_query.arrow` keeps.

An evaluator computes them from the embeddings of a system, a comparison from the published values
of a baseline. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.evaluators.pair_statistics import (
    average_precision,
    best_thresholds,
    pearson,
    spearman,
)

__all__ = [
    "LABEL",
    "LABELLED_METRICS",
    "SCORE",
    "SCORED_METRICS",
    "Statistic",
    "labelled_pairs",
    "means",
    "scored_pairs",
    "similarity_column",
    "statistic_of",
]

Values = npt.NDArray[np.float64]

LABEL: Final = "label"
"""The column of a pair's label: 1 for a positive, 0 for a negative."""
SCORE: Final = "score"
"""The column of a pair's score."""
LABELLED_METRICS: Final = ("ap", "f1", "accuracy")
"""The metrics of labelled pairs, of each similarity."""
SCORED_METRICS: Final = ("spearman", "pearson")
"""The metrics of scored pairs, of each similarity."""
SIMILARITY: Final = "similarity_"
"""How the names of columns of similarities start."""


@dataclass(frozen=True)
class Statistic:
    """The metrics of one system as a function of the items' weights."""

    items: int
    """How many items there are: pairs, triplets, sentences or queries."""
    of: Callable[[Values], Values]
    """Metrics (b, M) from weights (b, items)."""
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further keys of a metric's row, such as its threshold, by metric."""
    values: Values | None = None
    """What is known of each item, (items, K); None if it has no value of its own."""


def means(values: Values, details: Mapping[str, Mapping[str, Any]] | None = None) -> Statistic:
    """Return the statistic of metrics that are means over items.

    Args:
        values: Each item's metrics, (items, M).
        details: Further keys of a metric's row, by metric.
    """

    def of(weights: Values) -> Values:
        found: Values = weights @ values / weights.sum(axis=1, keepdims=True)
        return found

    return Statistic(len(values), of, details or {}, values)


def scored_pairs(similarities: Mapping[str, Values], scores: Values) -> Statistic:
    """Correlate similarities with scores: Spearman and Pearson of each similarity in turn.

    The values of a pair are its similarities and its score.

    Args:
        similarities: The similarity of each pair, (n,), by name.
        scores: The score of each pair, (n,).
    """

    def of(weights: Values) -> Values:
        columns = [
            correlation(found, scores, weights)
            for found in similarities.values()
            for correlation in (spearman, pearson)
        ]
        return np.stack(columns, axis=1)

    values = np.stack([*similarities.values(), scores], axis=1)
    return Statistic(len(scores), of, {}, values)


def labelled_pairs(similarities: Mapping[str, Values], labels: npt.NDArray[np.bool_]) -> Statistic:
    """Separate pairs by similarity: average precision, best F1 and best accuracy of each.

    The values of a pair are its similarities and its label.

    Args:
        similarities: The similarity of each pair, (n,), by name.
        labels: Whether each pair is a positive, (n,).
    """

    def of(weights: Values) -> Values:
        columns = []
        for scores in similarities.values():
            f1, _, accuracy, _ = best_thresholds(scores, labels, weights)
            columns += [average_precision(scores, labels, weights), f1, accuracy]
        return np.stack(columns, axis=1)

    details = {}
    for name, scores in similarities.items():
        _, of_f1, _, of_accuracy = best_thresholds(scores, labels, np.ones((1, len(labels))))
        details[f"f1_{name}"] = {"threshold": float(of_f1[0])}
        details[f"accuracy_{name}"] = {"threshold": float(of_accuracy[0])}
    values = np.stack([*similarities.values(), labels.astype(np.float64)], axis=1)
    return Statistic(len(labels), of, details, values)


def similarity_column(similarity: str) -> str:
    """Return the name of the column of a similarity in `per_query.arrow`."""
    return f"{SIMILARITY}{similarity}"


def statistic_of(values: Mapping[str, Values]) -> tuple[Sequence[str], Statistic]:
    """Return the metrics that the values of all items decide, with their statistic.

    Args:
        values: The columns that an evaluator keeps of one system, (n,) each. Those of pairs are
            similarities with labels or scores; all others are metrics whose means are taken.
    """
    similarities = {
        name.removeprefix(SIMILARITY): column
        for name, column in values.items()
        if name.startswith(SIMILARITY)
    }
    if similarities and LABEL in values:
        metrics = [f"{metric}_{name}" for name in similarities for metric in LABELLED_METRICS]
        return metrics, labelled_pairs(similarities, values[LABEL] > 0)
    if similarities and SCORE in values:
        metrics = [f"{metric}_{name}" for name in similarities for metric in SCORED_METRICS]
        return metrics, scored_pairs(similarities, values[SCORE])
    return list(values), means(np.stack(list(values.values()), axis=1))
