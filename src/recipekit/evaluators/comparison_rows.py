"""Rows of `metrics.json`: figures of several systems, their intervals and tested differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistics import difference_p_value, holm, percentile_interval

__all__ = ["comparison_rows"]

Values = npt.NDArray[np.float64]


def comparison_rows(
    spec: Resampling,
    systems: Sequence[str],
    metrics: Sequence[str],
    observed: Values,
    sampled: Values,
    shared: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return a row per system and metric; rows of the last system have its differences to others.

    `differences` is {other system: {difference, low, high, p_value, p_adjusted}}, where difference
    is last minus other, and p_adjusted is Holm's over all differences of the call.

    Args:
        spec: The confidence level and number of bootstrap samples.
        systems: The S systems, in the order of the tables.
        metrics: The M metrics.
        observed: Their values, (S, M).
        sampled: Their values in each bootstrap sample, which all systems share, (samples, S, M).
        shared: Keys that all rows have, such as `split` and `queries`.
    """
    rows = []
    for (s, system), (m, metric) in product(enumerate(systems), enumerate(metrics)):
        estimate = percentile_interval(observed[s, m], sampled[:, s, m], spec.confidence_level)
        row = {
            **shared,
            "system": system,
            "metric": metric,
            **vars(estimate),
            "confidence_level": spec.confidence_level,
            "bootstrap_samples": spec.bootstrap_samples,
        }
        rows.append(row)
    for m, differences in enumerate(_differences(spec, systems, observed, sampled)):
        rows[-len(metrics) + m]["differences"] = differences
    return rows


def _differences(
    spec: Resampling, systems: Sequence[str], observed: Values, sampled: Values
) -> list[dict[str, dict[str, float]]]:
    """For each metric, the last system's difference to every other system."""
    if len(systems) < 2:
        return []
    found: list[dict[str, dict[str, float]]] = [{} for _ in range(observed.shape[1])]
    for m, s in product(range(len(found)), range(len(systems) - 1)):
        value = observed[-1, m] - observed[s, m]
        differences = sampled[:, -1, m] - sampled[:, s, m]
        interval = percentile_interval(value, differences, spec.confidence_level)
        found[m][systems[s]] = {
            "difference": interval.value,
            "low": interval.low,
            "high": interval.high,
            "p_value": difference_p_value(value, differences),
        }
    tests = [test for by_system in found for test in by_system.values()]
    adjusted = holm([test["p_value"] for test in tests])
    for test, p_adjusted in zip(tests, adjusted, strict=True):
        test["p_adjusted"] = p_adjusted
    return found
