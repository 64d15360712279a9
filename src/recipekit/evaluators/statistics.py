"""What can be said of means over a sample of queries: bootstrap intervals, and tests of paired
differences.

Queries are the sampling units (Savoy 1997; Sakai 2006, "Evaluating evaluation metrics based on the
bootstrap"). All systems and metrics are resampled with the same queries, so that differences are
paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "bootstrap_means", "difference_p_value", "holm", "percentile_interval"]

Values = npt.NDArray[np.float64]

BLOCK_DRAWS = 4_000_000  # drawn query numbers in memory at one time: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval."""

    value: float
    low: float
    high: float


def bootstrap_means(values: Values, resamples: int, seed: int) -> Values:
    """Means over queries drawn with replacement.

    Args:
        values: One row per query, one column per thing that is averaged, (n, m). All columns are
            resampled together.
        resamples: How many resamples of n queries to draw.
        seed: Decides the draws.

    Returns:
        The columns' means in each resample, (resamples, m).
    """
    queries, columns = values.shape
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    step = max(1, BLOCK_DRAWS // queries)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = (
            generator.integers(queries, size=(size, queries)) + np.arange(size)[:, None] * queries
        )
        # How often each query was drawn makes a mean a product, for all columns at once.
        counts = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        means[start : start + size] = counts @ values / queries
    return means


def percentile_interval(value: float, means: Values, confidence: float) -> Estimate:
    """The percentile bootstrap interval: the middle `confidence` of the resampled means
    (resamples,).

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13. The observed `value`
    stands in the middle.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def difference_p_value(difference: float, means: Values) -> float:
    """Two-sided p-value of a mean paired difference, by the bootstrap shift method.

    Under the null hypothesis of no difference, resampled means d* scatter around 0 as they now do
    around the observed d:

        p = (1 + #{ |d* - d| >= |d| }) / (resamples + 1)

    Efron and Tibshirani 1993, chapter 16; compared with other tests for retrieval by Smucker, Allan
    and Carterette 2007 ("A comparison of statistical significance tests for information retrieval
    evaluation"). The 1 added on both sides counts the observed sample itself (Davison and Hinkley
    1997, chapter 4), so that p is never 0.
    """
    # A tolerance, so that two equal systems, whose differences are all 0 but for rounding, get p =
    # 1.
    extreme = np.count_nonzero(np.abs(means - difference) >= abs(difference) - 1e-12)
    return float((1 + extreme) / (len(means) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for testing several differences at once (Holm 1979).

    With p(1) <= ... <= p(m): adjusted p(i) = max over j <= i of min(1, (m - j + 1) p(j)). Rejecting
    those below a level keeps the chance of any false rejection in the family below that level,
    whatever the tests' dependence.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(
        1, np.maximum.accumulate(factors * np.asarray(p_values, dtype=np.float64)[order])
    )
    return [float(p) for p in adjusted]
