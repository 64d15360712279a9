"""Whether a judge favours positions in a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["position_bias"]


def position_bias(positions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Cochran's Q test over calls of one size, summed over sizes (Cochran, 1950).

    With n positions, X_j positive verdicts at position j and L_i in call i,
    Q = n (n - 1) · Σ_j (X_j - mean X)² / Σ_i L_i (n - L_i). Since the order is random, Q is
    chi-square distributed with n - 1 degrees of freedom if positions do not matter.

    Args:
        positions: By size of call: `calls`, `positive` (by position) and `spread` (Q's
            denominator).

    Returns:
        `calls`, `judged` and `positive_share` (by position over all sizes), and `p`, the
        probability of so large a Q (None if no call has both verdicts).
    """
    longest = max((len(size["positive"]) for size in positions.values()), default=0)
    judged, positive = [0] * longest, [0] * longest
    statistic, freedom = 0.0, 0
    for size in positions.values():
        n, counts = len(size["positive"]), size["positive"]
        for position, count in enumerate(counts):
            judged[position] += size["calls"]
            positive[position] += count
        if size["spread"]:
            mean = sum(counts) / n
            deviation = sum((count - mean) ** 2 for count in counts)
            statistic += n * (n - 1) * deviation / size["spread"]
            freedom += n - 1
    return {
        "calls": sum(size["calls"] for size in positions.values()),
        "judged": judged,
        "positive_share": [round(n / of, 4) for n, of in zip(positive, judged, strict=True)],
        "p": _chi_square_tail(statistic, freedom) if freedom else None,
    }


def _chi_square_tail(statistic: float, freedom: int) -> float:
    from scipy.special import chdtrc  # scipy.stats takes a second to import

    return float(chdtrc(freedom, statistic))
