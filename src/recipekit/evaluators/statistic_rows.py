"""Rows of `metrics.json` from the statistics of several systems on the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.evaluators.comparison_rows import comparison_rows
from recipekit.evaluators.item_statistics import Statistic
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistics import bootstrap_counts

__all__ = ["sampled_metrics", "statistic_rows"]

Values = npt.NDArray[np.float64]

SAMPLED_WEIGHTS: Final = 500_000
"""Weights of bootstrap samples in one call of a statistic, which may keep several copies."""


def statistic_rows(
    spec: Resampling,
    systems: Mapping[str, Statistic],
    metrics: Sequence[str],
    seed: int,
    shared: Mapping[str, Any],
    *,
    main: int | None = None,
) -> list[dict[str, Any]]:
    """Return rows as `comparison_rows` does, with the details of each statistic.

    Args:
        spec: How intervals are computed.
        systems: The statistics of the S systems, in the order of the tables, on the same items.
        metrics: The M metrics of each statistic.
        seed: Seed of the bootstrap.
        shared: Keys that all rows have, such as `split` and `queries`.
        main: The number of metrics whose p-values are adjusted apart from those after them.
    """
    observed = np.concatenate([one.of(np.ones((1, one.items))) for one in systems.values()])
    sampled = sampled_metrics(list(systems.values()), spec.bootstrap_samples, seed)
    rows = comparison_rows(spec, list(systems), metrics, observed, sampled, shared, main)
    for row in rows:
        row.update(systems[row["system"]].details.get(row["metric"], {}))
    return rows


def sampled_metrics(statistics: Sequence[Statistic], samples: int, seed: int) -> Values:
    """Return the M metrics of S statistics in each bootstrap sample, (samples, S, M).

    Args:
        statistics: Statistics of the same items and metrics.
        samples: The number of bootstrap samples.
        seed: Seed of the draws.
    """
    items = statistics[0].items
    step = max(1, SAMPLED_WEIGHTS // items)
    blocks = []
    for counts in bootstrap_counts(items, samples, seed):
        for start in range(0, len(counts), step):
            weights = counts[start : start + step].astype(np.float64)
            blocks.append(np.stack([one.of(weights) for one in statistics], axis=1))
    return np.concatenate(blocks)
