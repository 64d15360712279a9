"""Figures of a comparison: quality against speed, dimensions and bytes."""

from __future__ import annotations

from collections.abc import Callable

from recipekit.compare.comparison import Comparison, ModelFacts
from recipekit.report.blocks import Block, Figure, Point, Table
from recipekit.report.metrics import Comparison as Measured
from recipekit.report.metrics import comparisons as by_evaluator

__all__ = ["trade_off_figures"]


def trade_off_figures(comparison: Comparison) -> list[Block]:
    """Return the first metric of the first evaluator against speed, dimensions and bytes."""
    measured = next(iter(by_evaluator(comparison.rows)), None)
    if measured is None:
        return []
    axes: list[tuple[str, str, bool, Callable[[ModelFacts], float | None]]] = [
        ("speed", "passages per second", False, _speed),
        ("dimensions", "dimensions", True, _dimensions),
        ("bytes", "bytes per vector", True, _bytes),
    ]
    figures = []
    for name, label, log, x in axes:
        series = {}
        for model in comparison.models:
            point = _point(measured, model, x)
            if point is not None:
                series[model.name] = [point]
        if series:
            metric = measured.metrics[0]
            title = f"{metric} of {measured.evaluator} against {name}"
            empty = Table([], [])
            figures.append(Figure(title, label, series, empty, y=metric, kind="points", log_x=log))
    return list(figures)


def _speed(model: ModelFacts) -> float | None:
    return None if model.speed is None else model.speed.passages_per_second


def _dimensions(model: ModelFacts) -> float | None:
    return None if model.size is None else model.size.dimensions


def _bytes(model: ModelFacts) -> float | None:
    return None if model.size is None else model.size.bytes_per_vector


def _point(
    measured: Measured, model: ModelFacts, of: Callable[[ModelFacts], float | None]
) -> Point | None:
    x, row = of(model), measured.row(model.name, measured.metrics[0])
    if x is None or row is None or row.get("value") is None:
        return None
    if row.get("low") is None or row.get("high") is None:
        return (float(x), float(row["value"]))
    return (float(x), float(row["value"]), float(row["low"]), float(row["high"]))
