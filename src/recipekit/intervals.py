"""A share that was counted, and between which bounds it may lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["wilson_bounds"]


def wilson_bounds(
    hits: Any, n: float, z: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The ends of Wilson's score interval (1927) of one share hits / n, or of many, not cut at 0
    and 1.

    With p = hits / n: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), where z is the normal
    quantile of the wanted confidence.
    """
    p = np.asarray(hits, dtype=np.float64) / n
    middle, width = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return (middle - width) / scale, (middle + width) / scale
