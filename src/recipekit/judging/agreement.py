"""How well verdicts agree with labels: agreement, Cohen's kappa and error rates, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats
from recipekit.intervals import wilson_bounds
from recipekit.judging.verdict_state import Codes
from recipekit.records import Verdict

__all__ = ["FIGURES", "agreement", "kappa", "wilson"]

Z = 1.959963984540054
"""The normal quantile of two-sided 95 % intervals."""
DRAWS = 2000
"""Tables by which the intervals of weighted pairs are found."""

FIGURES = ("kappa", "agreement", "false_positive_rate", "false_negative_rate", "decided_share")

Interval = dict[str, float]
"""`value`, and the ends of its 95 % interval, `low` and `high`."""


def agreement(truth: Codes, said: Codes, weight: Floats | None = None) -> dict[str, Any]:
    """Compare verdicts with labels, pair by pair.

    With TP, FP, TN, FN counted over the pairs that both call positive or negative:

    - agreement: (TP + TN) / (TP + FP + TN + FN)
    - kappa: see `kappa`
    - false-positive rate: FP / all labelled negatives that got a verdict, `ignore` among them
    - false-negative rate: FN / all labelled positives that got a verdict, `ignore` among them
    - decided: (TP + FP + TN + FN) / all labelled positives and negatives that got a verdict

    A verdict `ignore` is no error and no agreement: it counts in the rates' denominators alone.
    Shares have Wilson's intervals. Pairs that were not drawn evenly are weighted; their intervals
    are those of a Bayesian bootstrap by strata (see `_drawn_tables`).

    Args:
        truth: What the labels say, `Verdict` codes (n,).
        said: What a judge says, (n,); pairs that are UNJUDGED in either are left out.
        weight: How many pairs each stands for, (n,); all the same by default.

    Returns:
        `pairs` (labelled positive or negative, with a verdict), `ignored_by_people` (labelled
        `ignore`, left out), `table` (label to verdict to number, not weighted), the figures, each
        an `Interval` or None, and `unmeasured` (why, for each None).
    """
    told = (truth != Verdict.UNJUDGED) & (said != Verdict.UNJUDGED)
    truth, said = truth[told], said[told]
    each: Floats = np.ones(len(truth), np.float32) if weight is None else weight[told]
    table = _table(truth, said)
    positives, negatives = int(table[Verdict.POSITIVE].sum()), int(table[Verdict.NEGATIVE].sum())
    figures = (
        _even(table) if weight is None or (each == each[:1]).all() else _uneven(truth, said, each)
    )
    return {
        "pairs": positives + negatives,
        "ignored_by_people": int(table[Verdict.IGNORE].sum()),
        "table": {label: _row(table[Verdict[label.upper()]]) for label in ("positive", "negative")},
        **figures,
        "unmeasured": {
            name: _why(name, positives, negatives)
            for name, value in figures.items()
            if value is None
        },
    }


def _table(truth: Codes, said: Codes) -> npt.NDArray[np.int64]:
    """Numbers of pairs by label and verdict, by code, (3, 3)."""
    table = np.zeros((3, 3), dtype=np.int64)
    np.add.at(table, (truth, said), 1)
    return table


def _even(table: npt.NDArray[np.int64]) -> dict[str, Interval | None]:
    """The figures of pairs that all stand for as many."""
    hits, among = _shares(table)
    shares = {name: wilson(int(hits[name]), int(among[name])) for name in hits}
    return {"kappa": kappa(table[:2, :2]) if table[:2, :2].sum(axis=1).all() else None, **shares}


def _shares(table: npt.NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numerators and denominators of the shares, of a table (..., 3, 3)."""
    positive, negative, ignore = Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE
    decided = table[..., :2, :2].sum(axis=(-2, -1))
    hits = {
        "agreement": table[..., positive, positive] + table[..., negative, negative],
        "false_positive_rate": table[..., negative, positive],
        "false_negative_rate": table[..., positive, negative],
        "decided_share": decided,
    }
    among = {
        "agreement": decided,
        "false_positive_rate": table[..., negative, :].sum(axis=-1),
        "false_negative_rate": table[..., positive, :].sum(axis=-1),
        "decided_share": decided + table[..., :2, ignore].sum(axis=-1),
    }
    return hits, among


def _uneven(truth: Codes, said: Codes, weight: Floats) -> dict[str, Interval | None]:
    """The figures of weighted pairs."""
    strata = [
        (float(value), _table(truth[weight == value], said[weight == value]))
        for value in np.unique(weight)
    ]
    table, drawn = (
        np.sum([value * counts for value, counts in strata], axis=0),
        _drawn_tables(strata),
    )
    (hits, among), (hits_drawn, among_drawn) = _shares(table), _shares(drawn)
    figures: dict[str, Interval | None] = {"kappa": None}
    if table[:2, :2].sum(axis=1).all():
        figures["kappa"] = _percentiles(_kappa(table[:2, :2]), _kappa(drawn[:, :2, :2]))
    for name, n in among.items():
        figures[name] = (
            _percentiles(hits[name] / n, hits_drawn[name] / among_drawn[name]) if n else None
        )
    return figures


def _drawn_tables(strata: Sequence[tuple[float, npt.NDArray[np.int64]]]) -> npt.NDArray[np.float64]:
    """Tables that the counts of strata speak for, (n, 3, 3), as a Bayesian bootstrap (Rubin, 1981)
    draws them.

    Pairs of one weight are a stratum. Its shares are drawn from a Dirichlet distribution around its
    counts, with its part of half a pair more for each label beside the verdicts that are there, and
    beside `ignore` (what was not seen is not impossible), and weighed by its size.
    """
    generator = np.random.default_rng(0)
    total, pairs = np.zeros((DRAWS, 3, 3)), sum(counts.sum() for _, counts in strata)
    for weight, counts in strata:
        around = counts.astype(np.float64)
        seen = np.asarray(counts.any(axis=0))
        seen[Verdict.IGNORE] = True
        around[:2] += 0.5 * counts.sum() / pairs * seen
        shares = generator.standard_gamma(around, size=(DRAWS, 3, 3))
        total += weight * counts.sum() * shares / shares.sum(axis=(1, 2), keepdims=True)
    return total


def _percentiles(value: float, drawn: npt.NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "value": float(value),
        "low": min(float(low), float(value)),
        "high": max(float(high), float(value)),
    }


def _row(row: npt.NDArray[np.int64]) -> dict[str, int]:
    return {
        verdict.name.lower(): int(row[verdict])
        for verdict in (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.IGNORE)
    }


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
    """A share with Wilson's 95 % interval (`wilson_bounds`); None of nothing."""
    if not n:
        return None
    low, high = wilson_bounds(hits, n, Z)
    return {"value": hits / n, "low": max(0.0, float(low)), "high": min(1.0, float(high))}


def kappa(table: npt.NDArray[np.int64]) -> Interval:
    """Cohen's kappa (1960) of a square table of counts (label, verdict), whose labels are not all
    the same.

    With p the shares and p_i., p_.i their sums by row and column: p_o = Σ p_ii, p_e = Σ p_i. p_.i,
    kappa = (p_o - p_e) / (1 - p_e). The interval is kappa ± 1.96 · se, by the large-sample variance
    of Fleiss, Cohen and Everitt (1969): se² = (Σ p_ii (1 - (p_i. + p_.i)(1 - k))² + (1 - k)²
    Σ_{i≠j} p_ij (p_.i + p_j.)² - (k - p_e (1 - k))²) / (n (1 - p_e)²). It is that of the table with
    half a pair more in each cell: where all agree, the formula alone would leave no interval at
    all.
    """
    value = float(_kappa(table))
    n = float(table.sum()) + table.size / 2
    p = (table + 0.5) / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    chance, k = float(rows @ columns), float(_kappa(p))
    diagonal = float(np.sum(np.diag(p) * (1 - (rows + columns) * (1 - k)) ** 2))
    across = p * (columns[:, None] + rows[None, :]) ** 2
    off = float((1 - k) ** 2 * (across.sum() - np.trace(across)))
    margin = Z * math.sqrt(
        max(0.0, (diagonal + off - (k - chance * (1 - k)) ** 2) / (n * (1 - chance) ** 2))
    )
    return {"value": value, "low": max(-1.0, value - margin), "high": min(1.0, value + margin)}


def _kappa(table: npt.NDArray[Any]) -> Any:
    """Kappa itself, of tables (..., k, k)."""
    p = table / table.sum(axis=(-2, -1), keepdims=True)
    agreed = np.trace(p, axis1=-2, axis2=-1)
    chance = (p.sum(axis=-1) * p.sum(axis=-2)).sum(axis=-1)
    return (agreed - chance) / (1 - chance)
