"""Metrics of several systems and the tested differences between them, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recipekit.report.blocks import Figure, Headline, Line, Point, Span, Strong, Table
from recipekit.report.metric_labels import metric_label
from recipekit.report.numbers import p_value, plural, signed

__all__ = [
    "SIGNIFICANT",
    "UNTESTED",
    "Difference",
    "EvaluatorMetrics",
    "Row",
    "counted_item",
    "differences_table",
    "evaluator_metrics",
    "headline",
    "metrics_figure",
    "metrics_table",
]

Row = Mapping[str, Any]

MOST_COLUMNS = 5
"""The most metrics that a table shows next to each other."""
SIGNIFICANT = 0.05
"""A difference is significant if its adjusted p-value is below this level."""


UNTESTED = (
    "Figures without brackets have no per-item values that could be resampled, so their "
    "differences are not tested."
)


@dataclass(frozen=True)
class Difference:
    """A metric's mean difference between two systems over the same queries, with its test."""

    system: str
    other: str
    metric: str
    value: float
    low: float
    high: float
    p_value: float
    p_adjusted: float

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below `SIGNIFICANT`."""
        return self.p_adjusted < SIGNIFICANT

    @property
    def interval(self) -> str:
        """The confidence interval: `[+0.042, +0.089]`."""
        return f"[{signed(self.low)}, {signed(self.high)}]"

    @property
    def verdict(self) -> str:
        """`yes, better`, `yes, worse` or `no`."""
        if not self.is_significant:
            return "no"
        return "yes, better" if self.value > 0 else "yes, worse"


@dataclass(frozen=True)
class EvaluatorMetrics:
    """The metrics of one evaluator on one split."""

    evaluator: str
    split: str
    rows: Sequence[Row]
    variants: Sequence[Row] = ()
    """Rows of variants of the systems, such as compressed vectors."""
    efficiency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What systems and variants cost, by name."""

    @property
    def systems(self) -> list[str]:
        """The systems, in the order of the rows."""
        return list(dict.fromkeys(str(row["system"]) for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """The metrics, in the order of the rows."""
        return list(dict.fromkeys(str(row["metric"]) for row in self.rows))

    @property
    def title(self) -> str:
        """Evaluator, split and number of items: `held_out, test split, 600 queries`."""
        counted = next((row for row in self.rows if row.get("queries") is not None), None)
        parts = [
            self.evaluator,
            f"{self.split} split" if self.split else "",
            "" if counted is None else _count(counted),
        ]
        return ", ".join(filter(None, parts))

    def row(self, system: str, metric: str) -> Row | None:
        """The row of one system or variant and metric."""
        every = (*self.rows, *self.variants)
        rows = (row for row in every if row["system"] == system and row["metric"] == metric)
        return next(rows, None)

    def best(self, metric: str) -> float:
        """The largest value of a metric."""
        return max(float(row["value"]) for row in self.rows if row["metric"] == metric)

    def differences(self) -> Iterator[Difference]:
        """The tested differences, in the order of the rows."""
        for row in self.rows:
            for other, test in (row.get("differences") or {}).items():
                yield Difference(
                    system=str(row["system"]),
                    other=other,
                    metric=str(row["metric"]),
                    value=test["difference"],
                    low=test["low"],
                    high=test["high"],
                    p_value=test["p_value"],
                    p_adjusted=test.get("p_adjusted", test["p_value"]),
                )


def _count(row: Row) -> str:
    """What was measured, with its noun."""
    return plural(row["queries"], str(row.get("item") or "query"), counted_item(row))


def evaluator_metrics(
    rows: Sequence[Row], efficiency: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None
) -> list[EvaluatorMetrics]:
    """Rows of `metrics.json` grouped by evaluator and split, in their order.

    Args:
        rows: The rows.
        efficiency: What systems cost, by evaluator and system.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        group = (str(row.get("evaluator") or ""), str(row.get("split") or ""))
        groups.setdefault(group, []).append(row)
    return [
        EvaluatorMetrics(
            evaluator,
            split,
            [row for row in found if not row.get("variant_of")],
            [row for row in found if row.get("variant_of")],
            (efficiency or {}).get(evaluator, {}),
        )
        for (evaluator, split), found in groups.items()
    ]


def counted_item(row: Row) -> str:
    """What was counted and resampled, as a plural noun: `queries`, `pairs`."""
    item = str(row.get("item") or "query")
    return "queries" if item == "query" else f"{item}s"


def metrics_table(measured: EvaluatorMetrics) -> Table:
    """Systems as rows and metrics as columns, with intervals; a metric's best value is strong.

    With more than `MOST_COLUMNS` metrics, these are the rows.
    """
    systems, metrics = measured.systems, measured.metrics
    if len(metrics) > MOST_COLUMNS:
        cells = [
            [metric_label(m), *(_value(measured, system, m) for system in systems)] for m in metrics
        ]
        return Table(["metric", *systems], cells)
    rows = [[s, *(_value(measured, s, metric) for metric in metrics)] for s in systems]
    return Table(["system", *map(metric_label, metrics)], rows)


def _value(measured: EvaluatorMetrics, system: str, metric: str) -> Line:
    row = measured.row(system, metric)
    if row is None or row.get("value") is None:
        return "-"
    value: Span = f"{row['value']:.3f}"
    if row["value"] == measured.best(metric):
        value = Strong(f"{row['value']:.3f}")
    interval = _interval(row)
    return (value, f" {interval}") if interval else value


def differences_table(measured: EvaluatorMetrics, *, metrics: Sequence[str] = ()) -> Table | None:
    """The tested differences, one a row; only of some metrics if these are named."""
    rows = [
        [
            f"{found.system} - {found.other}",
            metric_label(found.metric),
            signed(found.value),
            found.interval,
            p_value(found.p_value),
            p_value(found.p_adjusted),
            found.verdict,
        ]
        for found in measured.differences()
        if not metrics or found.metric in metrics
    ]
    header = ["difference", "metric", "mean", "interval", "unadjusted", "adjusted", "significant"]
    return Table(header, rows, left=2) if rows else None


def headline(measured: EvaluatorMetrics) -> Headline | None:
    """The first metric of the last system against the system before it.

    None if nothing was compared.
    """
    metric = measured.metrics[0]
    found = [each for each in measured.differences() if each.metric == metric]
    if not found:
        return None
    main = found[-1]
    before = measured.row(main.other, metric)
    after = measured.row(main.system, metric)
    if before is None or after is None:
        return None
    if not main.is_significant:
        verb = "changes"
    else:
        verb = "rises" if main.value > 0 else "falls"
    values = f"from {before['value']:.3f} ({main.other}) to {after['value']:.3f} ({main.system})"
    test = f"{signed(main.value)} {main.interval}, adjusted {p_value(main.p_adjusted)}"
    verdict = "" if main.is_significant else ", not significant"
    return Headline(
        f"{metric_label(metric)} {verb} {values}: {test}{verdict} ({measured.title}).",
        values=[
            (main.other, f"{before['value']:.3f}", _interval(before)),
            (main.system, f"{after['value']:.3f}", _interval(after)),
            ("difference", signed(main.value), main.interval),
        ],
    )


def _interval(row: Row) -> str:
    if row.get("low") is None or row.get("high") is None:
        return ""
    return f"[{row['low']:.3f}, {row['high']:.3f}]"


def metrics_figure(measured: EvaluatorMetrics) -> Figure | None:
    """Every system's value of the first metric with its interval; None for a single system."""
    metric = measured.metrics[0]
    points: list[Point] = []
    names: list[str] = []
    for system in measured.systems:
        row = measured.row(system, metric)
        if row is None or row.get("value") is None:
            continue
        value = float(row["value"])
        if row.get("low") is None or row.get("high") is None:
            points.append((len(names), value))
        else:
            points.append((len(names), value, float(row["low"]), float(row["high"])))
        names.append(system)
    if len(names) < 2:
        return None
    where = ", ".join(filter(None, [measured.evaluator, measured.split]))
    label, table = metric_label(metric), Table([], [])
    title = f"{label} by system ({where})"
    return Figure(title, label, {label: points}, table, kind="intervals", categories=names)
