"""Agreement of verdicts with labels: Cohen's kappa, agreement and error rates, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats
from recipekit.judging.verdicts import Codes
from recipekit.proportions import normal_quantile, wilson_interval
from recipekit.records import Verdict

__all__ = ["FIGURES", "agreement", "kappa", "wilson"]

FIGURES = ("kappa", "agreement", "false_positive_rate", "false_negative_rate", "decided_share")

BOOTSTRAP_TABLES = 2000
"""Tables drawn for the intervals of weighted pairs."""

Interval = dict[str, float]
"""`value`, and `low` and `high`, the ends of its 95 % interval."""
Table = npt.NDArray[np.int64]
"""Numbers of pairs by label and verdict, both as `Verdict` codes, (3, 3)."""


def agreement(truth: Codes, verdict: Codes, weight: Floats | None = None) -> dict[str, Any]:
    """Compare verdicts with labels.

    With TP, FP, TN, FN counted over the pairs that label and verdict both call positive or
    negative:

    - `agreement`: (TP + TN) / (TP + FP + TN + FN)
    - `kappa`: see `kappa`
    - `false_positive_rate`: FP / all labelled negatives with a verdict, `ignore` included
    - `false_negative_rate`: FN / all labelled positives with a verdict, `ignore` included
    - `decided_share`: (TP + FP + TN + FN) / all labelled positives and negatives with a verdict

    The verdict `ignore` is neither agreement nor error: it counts only in the denominators of the
    rates. Shares have Wilson intervals. Pairs with different weights have intervals of a Bayesian
    bootstrap by strata (see `_bootstrap_tables`).

    Args:
        truth: The labels, `Verdict` codes (n,).
        verdict: A judge's verdicts, (n,). Pairs that are UNJUDGED in either are left out.
        weight: How many pairs each pair represents, (n,); all the same by default.

    Returns:
        `pairs` (labelled positive or negative, with a verdict), `labelled_ignore` (left out),
        `table` (label to verdict to number, unweighted), the five figures, each an `Interval` or
        None, and `unmeasured` (the reason for each None).
    """
    compared = (truth != Verdict.UNJUDGED) & (verdict != Verdict.UNJUDGED)
    truth, verdict = truth[compared], verdict[compared]
    weight = np.ones(len(truth), np.float32) if weight is None else weight[compared]
    strata = [
        (float(value), _count(truth[weight == value], verdict[weight == value]))
        for value in np.unique(weight)
    ]
    table = _count(truth, verdict)
    figures = _figures(table) if len(strata) <= 1 else _weighted_figures(strata)
    positives, negatives = int(table[Verdict.POSITIVE].sum()), int(table[Verdict.NEGATIVE].sum())
    return {
        "pairs": positives + negatives,
        "labelled_ignore": int(table[Verdict.IGNORE].sum()),
        "table": {"positive": _row(table, "POSITIVE"), "negative": _row(table, "NEGATIVE")},
        **figures,
        "unmeasured": {
            name: _reason_unmeasured(name, positives, negatives)
            for name, figure in figures.items()
            if figure is None
        },
    }


def wilson(hits: int, n: int) -> Interval | None:
    """A share hits / n with its 95 % Wilson score interval; None if n is 0."""
    if n == 0:
        return None
    low, high = wilson_interval(hits, n, z=normal_quantile(0.975))
    return {"value": hits / n, "low": float(low), "high": float(high)}


def kappa(table: Table) -> Interval:
    """Cohen's kappa (1960) of a square table of counts (label, verdict) with at least two labels.

    With p the shares and p_i., p_.i their sums by row and column: p_o = Σ p_ii, p_e = Σ p_i. p_.i,
    kappa = (p_o - p_e) / (1 - p_e). The interval is kappa ± 1.96 · se, with the large-sample
    variance of Fleiss, Cohen and Everitt (1969): se² = (Σ p_ii (1 - (p_i. + p_.i)(1 - k))² +
    (1 - k)² Σ_{i≠j} p_ij (p_.i + p_j.)² - (k - p_e (1 - k))²) / (n (1 - p_e)²). The variance is
    that of the table with half a pair added to each cell, since it is 0 where all pairs agree.
    """
    value = float(_kappa(table))
    n = float(table.sum()) + table.size / 2
    p = (table + 0.5) / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    chance, k = float(rows @ columns), float(_kappa(p))
    diagonal = float(np.sum(np.diag(p) * (1 - (rows + columns) * (1 - k)) ** 2))
    across = p * (columns[:, None] + rows[None, :]) ** 2
    off_diagonal = float((1 - k) ** 2 * (across.sum() - np.trace(across)))
    variance = (diagonal + off_diagonal - (k - chance * (1 - k)) ** 2) / (n * (1 - chance) ** 2)
    margin = normal_quantile(0.975) * math.sqrt(max(0.0, variance))
    return {"value": value, "low": max(-1.0, value - margin), "high": min(1.0, value + margin)}


def _kappa(table: npt.NDArray[Any]) -> Any:
    """Kappa of tables (..., k, k), without intervals."""
    p = table / table.sum(axis=(-2, -1), keepdims=True)
    agreed = np.trace(p, axis1=-2, axis2=-1)
    chance = (p.sum(axis=-1) * p.sum(axis=-2)).sum(axis=-1)
    return (agreed - chance) / (1 - chance)


def _count(truth: Codes, verdict: Codes) -> Table:
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (truth, verdict), 1)
    return table


def _has_kappa(table: npt.NDArray[Any]) -> bool:
    """Whether both labels have a pair with the verdict positive or negative."""
    return bool(table[:2, :2].sum(axis=1).all())


def _shares(table: npt.NDArray[Any]) -> dict[str, tuple[Any, Any]]:
    """Numerator and denominator of each share, of tables (..., 3, 3)."""
    positive, negative, ignore = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE
    decided = table[..., :2, :2].sum(axis=(-2, -1))
    return {
        "agreement": (
            table[..., positive, positive] + table[..., negative, negative],
            decided,
        ),
        "false_positive_rate": (
            table[..., negative, positive],
            table[..., negative, :].sum(axis=-1),
        ),
        "false_negative_rate": (
            table[..., positive, negative],
            table[..., positive, :].sum(axis=-1),
        ),
        "decided_share": (decided, decided + table[..., :2, ignore].sum(axis=-1)),
    }


def _figures(table: Table) -> dict[str, Interval | None]:
    """The figures of pairs with equal weights."""
    figures: dict[str, Interval | None] = {
        "kappa": kappa(table[:2, :2]) if _has_kappa(table) else None
    }
    for name, (hits, n) in _shares(table).items():
        figures[name] = wilson(int(hits), int(n))
    return figures


def _weighted_figures(strata: Sequence[tuple[float, Table]]) -> dict[str, Interval | None]:
    """The figures of weighted pairs, given as (weight, table) of each stratum."""
    table = np.sum([weight * counts for weight, counts in strata], axis=0)
    drawn = _bootstrap_tables(strata)
    figures: dict[str, Interval | None] = {"kappa": None}
    if _has_kappa(table):
        figures["kappa"] = _percentiles(_kappa(table[:2, :2]), _kappa(drawn[:, :2, :2]))
    drawn_shares = _shares(drawn)
    for name, (hits, n) in _shares(table).items():
        drawn_hits, drawn_n = drawn_shares[name]
        figures[name] = _percentiles(hits / n, drawn_hits / drawn_n) if n else None
    return figures


def _bootstrap_tables(strata: Sequence[tuple[float, Table]]) -> npt.NDArray[np.float64]:
    """Tables drawn by a Bayesian bootstrap (Rubin, 1981), (BOOTSTRAP_TABLES, 3, 3).

    Pairs of one weight are a stratum. Its shares are drawn from a Dirichlet distribution around its
    counts and multiplied by its size. So that an unseen cell is not impossible, half a pair,
    divided among the strata by size, is added to both labels under `ignore` and under every verdict
    that occurs in the stratum.
    """
    generator = np.random.default_rng(0)
    total = np.zeros((BOOTSTRAP_TABLES, 9))
    pairs = sum(counts.sum() for _, counts in strata)
    for weight, counts in strata:
        around = counts.astype(np.float64)
        seen = np.asarray(counts.any(axis=0))
        seen[Verdict.IGNORE] = True
        around[:2] += 0.5 * counts.sum() / pairs * seen
        cells = np.flatnonzero(around)
        shares = generator.dirichlet(around.ravel()[cells], size=BOOTSTRAP_TABLES)
        total[:, cells] += weight * counts.sum() * shares
    return total.reshape(-1, 3, 3)


def _percentiles(value: float, drawn: npt.NDArray[np.float64]) -> Interval:
    low, high = (float(end) for end in np.percentile(drawn, (2.5, 97.5)))
    return {"value": float(value), "low": min(low, value), "high": max(high, value)}


def _row(table: Table, label: str) -> dict[str, int]:
    row = table[Verdict[label]]
    return {name: int(row[Verdict[name.upper()]]) for name in ("positive", "negative", "ignore")}


def _reason_unmeasured(figure: str, positives: int, negatives: int) -> str:
    if not positives + negatives:
        return "no labelled pair was judged"
    if figure in ("kappa", "false_positive_rate") and not negatives:
        return "no labelled negative was judged"
    if figure in ("kappa", "false_negative_rate") and not positives:
        return "no labelled positive was judged"
    if figure == "kappa":
        return "every labelled positive, or every labelled negative, was ignored"
    return "every labelled pair was ignored"
