"""The training curve, as a small table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipekit.report.markdown import table
from recipekit.report.numbers import figure

__all__ = ["training_curve"]

ROWS = 16
"""Rows at most; a longer curve is thinned evenly, its first, best and last rows kept."""


def training_curve(told: Mapping[str, Any], dev_metric: str) -> str:
    """Loss and dev metric over the steps, the row of the weights that were kept bold; empty where
    nothing was told.

    Args:
        told: `training.json`: `curve`, points {step, loss, learning_rate, ...}, each a mean over
            the steps since the one before, and `dev`, with its points {step, value} and a summary
            that has `best_step`.
        dev_metric: What the dev values are.
    """
    curve, evaluated = told.get("curve") or [], told.get("dev") or {}
    dev = {point["step"]: point["value"] for point in evaluated.get("points") or []}
    best = (evaluated.get("summary") or {}).get("best_step")
    marks = _thinned(sorted(dev or {point["step"] for point in curve}), best)
    rows = []
    before = -1
    for mark in marks:
        since = [point for point in curve if before < point["step"] <= mark]
        loss = f"{sum(point['loss'] for point in since) / len(since):.4f}" if since else ""
        rate = f"{since[-1]['learning_rate']:.2g}" if since and "learning_rate" in since[-1] else ""
        cells = [figure(mark), loss, rate, *([f"{dev[mark]:.4f}"] if dev else [])]
        rows.append([f"**{cell}**" if cell and mark == best else cell for cell in cells])
        before = mark
    header = [
        "step",
        "loss since the row above",
        "learning rate",
        *([f"dev {dev_metric}"] if dev else []),
    ]
    return table(header, rows, left=0) if rows else ""


def _thinned(steps: Sequence[int], best: int | None) -> list[int]:
    if len(steps) <= ROWS:
        return list(steps)
    kept = {steps[round(place * (len(steps) - 1) / (ROWS - 1))] for place in range(ROWS)}
    return sorted(kept | {step for step in steps if step == best})
