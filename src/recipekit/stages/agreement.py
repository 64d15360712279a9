"""How well verdicts agree with labels: agreement, Cohen's kappa and error rates, with intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.records import Verdict
from recipekit.stages.said import Codes

__all__ = ["FIGURES", "agreement", "kappa", "wilson"]

Z = 1.959963984540054
"""The normal quantile of two-sided 95 % intervals."""

FIGURES = ("kappa", "agreement", "false_positive_rate", "false_negative_rate")

Interval = dict[str, float]
"""`value`, and the ends of its 95 % interval, `low` and `high`."""


def agreement(truth: Codes, said: Codes) -> dict[str, Any]:
    """Compare verdicts with labels, pair by pair.

    With TP, FP, TN, FN counted over the pairs that both call positive or negative:

    - agreement: (TP + TN) / (TP + FP + TN + FN)
    - kappa: see `kappa`
    - false-positive rate: FP / all labelled negatives that got a verdict, `ignore` among them
    - false-negative rate: FN / all labelled positives that got a verdict, `ignore` among them

    Shares have Wilson's intervals. A verdict `ignore` is no error and no agreement: it counts in the rates' denominators alone.

    Args:
        truth: What the labels say, `Verdict` codes (n,).
        said: What a judge says, (n,); pairs that are UNJUDGED in either are left out.

    Returns:
        `pairs` (labelled positive or negative, with a verdict), `ignored_by_people` (labelled `ignore`, left out), `table` (label to
        verdict to number), the figures, each an `Interval` or None, and `unmeasured` (why, for each None).
    """
    told = (truth != Verdict.UNJUDGED) & (said != Verdict.UNJUDGED)
    table = np.zeros((3, 3), dtype=np.int64)  # label, verdict: by code
    np.add.at(table, (truth[told], said[told]), 1)
    decided = table[:2, :2]
    positives, negatives = int(table[Verdict.POSITIVE].sum()), int(table[Verdict.NEGATIVE].sum())
    figures = {
        "kappa": kappa(decided) if decided.sum(axis=1).all() else None,
        "agreement": wilson(int(np.trace(decided)), int(decided.sum())),
        "false_positive_rate": wilson(int(table[Verdict.NEGATIVE, Verdict.POSITIVE]), negatives),
        "false_negative_rate": wilson(int(table[Verdict.POSITIVE, Verdict.NEGATIVE]), positives),
    }
    return {
        "pairs": positives + negatives,
        "ignored_by_people": int(table[Verdict.IGNORE].sum()),
        "table": {label: _row(table[Verdict[label.upper()]]) for label in ("positive", "negative")},
        **figures,
        "unmeasured": {name: _why(name, positives, negatives) for name, value in figures.items() if value is None},
    }


def _row(row: npt.NDArray[np.int64]) -> dict[str, int]:
    return {verdict.name.lower(): int(row[verdict]) for verdict in (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE)}


def _why(figure: str, positives: int, negatives: int) -> str:
    """Why a figure could not be measured."""
    if not positives + negatives:
        return "no pair with a known label was judged"
    if figure in ("kappa", "false_positive_rate") and not negatives:
        return "no known negative was judged"
    if figure in ("kappa", "false_negative_rate") and not positives:
        return "no known positive was judged"
    if figure == "kappa":
        return "every known positive, or every known negative, was ignored"
    return "every known pair was ignored"


def wilson(hits: int, n: int) -> Interval | None:
    """A share with Wilson's score interval (1927); None of nothing.

    With p = hits / n and z = 1.96: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    """
    if not n:
        return None
    p = hits / n
    middle, width = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    return {"value": p, "low": max(0.0, (middle - width) / scale), "high": min(1.0, (middle + width) / scale)}


def kappa(table: npt.NDArray[np.int64]) -> Interval:
    """Cohen's kappa (1960) of a square table of counts (label, verdict), whose labels are not all the same.

    With p the shares and p_i., p_.i their sums by row and column: p_o = Σ p_ii, p_e = Σ p_i. p_.i, kappa = (p_o - p_e) / (1 - p_e).
    The interval is kappa ± 1.96 · se, by the large-sample variance of Fleiss, Cohen and Everitt (1969):
    se² = (Σ p_ii (1 - (p_i. + p_.i)(1 - k))² + (1 - k)² Σ_{i≠j} p_ij (p_.i + p_j.)² - (k - p_e (1 - k))²) / (n (1 - p_e)²).
    """
    n = int(table.sum())
    p = table / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    agreed, chance = float(np.trace(p)), float(rows @ columns)
    value = (agreed - chance) / (1 - chance)
    diagonal = float(np.sum(np.diag(p) * (1 - (rows + columns) * (1 - value)) ** 2))
    across = p * (columns[:, None] + rows[None, :]) ** 2
    off = float((1 - value) ** 2 * (across.sum() - np.trace(across)))
    variance = (diagonal + off - (value - chance * (1 - value)) ** 2) / (n * (1 - chance) ** 2)
    margin = Z * math.sqrt(max(variance, 0.0))
    return {"value": value, "low": max(-1.0, value - margin), "high": min(1.0, value + margin)}
