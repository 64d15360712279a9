"""Metrics before and after, in Markdown and as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipekit.report.markdown import columns, escape, table
from recipekit.report.numbers import p_value, plural, signed

__all__ = [
    "LEVEL",
    "Comparison",
    "comparisons",
    "differences_table",
    "metrics_table",
    "metrics_text",
]

Row = Mapping[str, Any]

LEVEL = 0.05
"""Differences whose adjusted p-value is below this are called significant."""


@dataclass(frozen=True)
class Comparison:
    """The rows of one evaluator on one split."""

    evaluator: str
    split: str
    rows: Sequence[Row]

    @property
    def systems(self) -> list[str]:
        """The systems in the order of the rows."""
        return list(dict.fromkeys(str(row["system"]) for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """The metrics in the order of the rows."""
        return list(dict.fromkeys(str(row["metric"]) for row in self.rows))

    @property
    def queries(self) -> int | None:
        """How many queries were measured."""
        return next((row["queries"] for row in self.rows if row.get("queries") is not None), None)

    @property
    def title(self) -> str:
        """What was measured, on how much: `held_out, test split, 600 queries`."""
        parts = [self.evaluator, f"{self.split} split" if self.split else ""]
        queries = plural(self.queries, "query", "queries") if self.queries is not None else ""
        return ", ".join(part for part in (*parts, queries) if part)

    def row(self, system: str, metric: str) -> Row | None:
        """One figure."""
        return next(
            (row for row in self.rows if row["system"] == system and row["metric"] == metric), None
        )

    def best(self, metric: str) -> float:
        """The largest value of a metric."""
        return max(float(row["value"]) for row in self.rows if row["metric"] == metric)

    def differences(self) -> Iterator[tuple[str, str, str, Mapping[str, float]]]:
        """Tested differences, as (system, other system, metric, figures)."""
        for row in self.rows:
            for other, figures in (row.get("differences") or {}).items():
                yield str(row["system"]), other, str(row["metric"]), figures


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """Rows by evaluator and split, in their order."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((str(row.get("evaluator", "")), str(row.get("split") or "")), []).append(
            row
        )
    return [Comparison(evaluator, split, found) for (evaluator, split), found in groups.items()]


def metrics_table(comparison: Comparison) -> str:
    """Systems as rows, metrics as columns, each with its interval; the best of a column is bold."""

    def cell(system: str, metric: str) -> str:
        row = comparison.row(system, metric)
        if row is None:
            return "-"
        value = f"{row['value']:.3f}"
        return (f"**{value}**" if row["value"] == comparison.best(metric) else value) + _interval(
            row
        )

    rows = [
        [escape(system), *(cell(system, metric) for metric in comparison.metrics)]
        for system in comparison.systems
    ]
    return table(["system", *map(escape, comparison.metrics)], rows)


def differences_table(comparison: Comparison) -> str:
    """Tested differences, one a row; empty where nothing was compared."""
    rows = [
        [
            f"{escape(system)} - {escape(other)}",
            escape(metric),
            signed(figures["difference"]),
            f"[{signed(figures['low'])}, {signed(figures['high'])}]",
            p_value(figures["p_value"]),
            p_value(_adjusted(figures)),
            _judgement(figures),
        ]
        for system, other, metric, figures in comparison.differences()
    ]
    return (
        table(
            ["difference", "metric", "mean", "interval", "alone", "after Holm", "significant"],
            rows,
            left=2,
        )
        if rows
        else ""
    )


def metrics_text(comparison: Comparison) -> str:
    """The same for a terminal: a table of aligned columns, and a line per difference in the first
    metric.
    """

    def cell(system: str, metric: str) -> str:
        row = comparison.row(system, metric)
        return f"{row['value']:.3f}{_interval(row)}" if row else "-"

    rows = [
        [system, *(cell(system, metric) for metric in comparison.metrics)]
        for system in comparison.systems
    ]
    lines = [comparison.title, columns([["", *comparison.metrics], *rows])]
    for system, other, metric, figures in comparison.differences():
        if metric == comparison.metrics[0]:
            verdict = "significant" if _adjusted(figures) < LEVEL else "not significant"
            found = f"{signed(figures['difference'])} [{signed(figures['low'])}, {signed(figures['high'])}]"
            lines.append(
                f"  {metric}, {system} - {other}: {found}, adjusted {p_value(_adjusted(figures))} ({verdict})"
            )
    return "\n".join(lines)


def _interval(row: Row) -> str:
    return (
        ""
        if row.get("low") is None or row.get("high") is None
        else f" [{row['low']:.3f}, {row['high']:.3f}]"
    )


def _adjusted(figures: Mapping[str, float]) -> float:
    return figures.get("p_adjusted", figures["p_value"])


def _judgement(figures: Mapping[str, float]) -> str:
    if _adjusted(figures) >= LEVEL:
        return "no"
    return "yes, better" if figures["difference"] > 0 else "yes, worse"
