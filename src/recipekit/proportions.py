"""Confidence intervals of proportions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["normal_quantile", "wilson_interval"]


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from scipy.special import ndtri  # scipy.stats takes a second to import

    return float(ndtri(probability))


def wilson_interval(
    hits: npt.NDArray[np.integer[Any]] | int, n: int, *, z: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Wilson's score interval of shares hits / n.

    With p = hits / n it is (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n) (Wilson, 1927).

    Args:
        hits: Successes, (k,) or one number.
        n: Trials, at least 1.
        z: The normal quantile of the bound: 1.96 for a two-sided 95 % interval, and 1.645 for a
            one-sided 95 % bound.

    Returns:
        The lower and the upper ends, in [0, 1], of the shape of `hits`.
    """
    p = np.asarray(hits) / n
    center = p + z**2 / (2 * n)
    width = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return np.clip((center - width) / scale, 0, 1), np.clip((center + width) / scale, 0, 1)
