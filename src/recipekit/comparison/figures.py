"""Figures of a comparison: quality by model, and against speed, dimensions and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from recipekit.comparison.result import Comparison, ModelFacts
from recipekit.report.blocks import Block, Figure, Point, Table
from recipekit.report.metrics import EvaluatorMetrics, evaluator_metrics, metrics_figure
from recipekit.report.terminal import shortened_path

__all__ = ["figure_names", "quality_figure", "trade_off_figures"]

LONGEST: Final = 30
"""Characters of a name in a figure; of longer ones the middle is left out."""


def figure_names(models: Sequence[str]) -> dict[str, str]:
    """Return a short name for each model: without the words that all of them start with.

    The end of a name says how variants of a model differ, so it is kept.
    """
    words = [name.split() for name in models]
    same = 0
    while len(models) > 1 and all(len(each) > same + 1 for each in words):
        if len({each[same] for each in words}) > 1:
            break
        same += 1
    short = {name: " ".join(each[same:]) for name, each in zip(models, words, strict=True)}
    cut = {name: shortened_path(text, LONGEST) for name, text in short.items()}
    return cut if len(set(cut.values())) == len(cut) else short


def quality_figure(measured: EvaluatorMetrics, names: Mapping[str, str]) -> Figure | None:
    """Return every model's first metric with its interval, under short names."""
    rows = [{**row, "system": names[row["system"]]} for row in measured.rows]
    return metrics_figure(EvaluatorMetrics(measured.evaluator, measured.split, rows))


def trade_off_figures(comparison: Comparison) -> list[Block]:
    """Return the first metric of the first evaluator against speed, dimensions and bytes."""
    measured = next(iter(evaluator_metrics(comparison.metric_rows)), None)
    if measured is None:
        return []
    axes: list[tuple[str, str, bool, Callable[[ModelFacts], float | None]]] = [
        ("speed", "passages per second", False, _speed_here),
        ("dimensions", "dimensions", True, lambda model: model.efficiency.dimension),
        ("bytes", "bytes per vector", True, lambda model: model.efficiency.bytes_per_vector),
    ]
    names = figure_names([model.name for model in comparison.models])
    figures = []
    for name, label, log, x in axes:
        series = {}
        for model in comparison.models:
            point = _point(measured, model, x)
            if point is not None:
                series[names[model.name]] = [point]
        if series:
            metric = measured.metrics[0]
            title = f"{metric} of {measured.evaluator} against {name}"
            empty = Table([], [])
            figures.append(Figure(title, label, series, empty, y=metric, kind="points", log_x=log))
    return list(figures)


def _speed_here(model: ModelFacts) -> float | None:
    """Return passages per second; a published speed is that of another machine."""
    return None if model.is_published else model.efficiency.passages_per_second


def _point(
    measured: EvaluatorMetrics, model: ModelFacts, of: Callable[[ModelFacts], float | None]
) -> Point | None:
    x, row = of(model), measured.row(model.name, measured.metrics[0])
    if x is None or row is None or row.get("value") is None:
        return None
    if row.get("low") is None or row.get("high") is None:
        return (float(x), float(row["value"]))
    return (float(x), float(row["value"]), float(row["low"]), float(row["high"]))
