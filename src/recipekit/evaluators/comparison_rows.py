"""Rows of `metrics.json`: figures of several systems, their intervals and tested differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.statistics import difference_p_value, holm, percentile_interval

__all__ = ["comparison_rows", "variant_rows"]

Values = npt.NDArray[np.float64]
Row = dict[str, Any]


def comparison_rows(
    spec: Resampling,
    systems: Sequence[str],
    metrics: Sequence[str],
    observed: Values,
    sampled: Values,
    shared: Mapping[str, Any],
    main: int | None = None,
) -> list[Row]:
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
        main: The number of metrics that are adjusted apart from those after them, such as the means
            before the figures of each language pair.
    """
    rows = _rows(spec, systems, metrics, observed, sampled, shared)
    last = len(systems) - 1
    tests = {}
    for m, s in product(range(len(metrics)), range(last)):
        test = _difference(spec, observed, sampled, last, s, m)
        rows[last * len(metrics) + m].setdefault("differences", {})[systems[s]] = test
        tests[m, s] = test
    first = len(metrics) if main is None else main
    _adjust([test for (m, _), test in tests.items() if m < first])
    _adjust([test for (m, _), test in tests.items() if m >= first])
    return rows


def variant_rows(
    spec: Resampling,
    variants: Mapping[str, str],
    systems: Sequence[str],
    metrics: Sequence[str],
    observed: Values,
    sampled: Values,
    shared: Mapping[str, Any],
) -> list[Row]:
    """Return a row per variant and metric, with its difference to the system that it is made of.

    Rows have the form of `comparison_rows`, and `variant_of`. P-values are adjusted over all
    differences of the call.

    Args:
        spec: The confidence level and number of bootstrap samples.
        variants: The system that each variant is made of, by the variant's name.
        systems: All S systems and variants, in the order of `observed`.
        metrics: The M metrics.
        observed: Their values, (S, M).
        sampled: Their values in each bootstrap sample, (samples, S, M).
        shared: Keys that all rows have.
    """
    every = _rows(spec, systems, metrics, observed, sampled, shared)
    rows, tests = [], []
    for (name, base), m in product(variants.items(), range(len(metrics))):
        s, b = systems.index(name), systems.index(base)
        test = _difference(spec, observed, sampled, s, b, m)
        tests.append(test)
        row = every[s * len(metrics) + m]
        rows.append({**row, "variant_of": base, "differences": {base: test}})
    _adjust(tests)
    return rows


def _rows(
    spec: Resampling,
    systems: Sequence[str],
    metrics: Sequence[str],
    observed: Values,
    sampled: Values,
    shared: Mapping[str, Any],
) -> list[Row]:
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
    return rows


def _difference(
    spec: Resampling, observed: Values, sampled: Values, system: int, other: int, metric: int
) -> dict[str, float]:
    """Test a metric of one system minus that of another, without an adjustment."""
    value = observed[system, metric] - observed[other, metric]
    differences = sampled[:, system, metric] - sampled[:, other, metric]
    interval = percentile_interval(value, differences, spec.confidence_level)
    return {
        "difference": interval.value,
        "low": interval.low,
        "high": interval.high,
        "p_value": difference_p_value(value, differences),
    }


def _adjust(tests: Sequence[dict[str, float]]) -> None:
    """Add the p-values that are adjusted for all of some tests."""
    adjusted = holm([test["p_value"] for test in tests])
    for test, p_adjusted in zip(tests, adjusted, strict=True):
        test["p_adjusted"] = p_adjusted
