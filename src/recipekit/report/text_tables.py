"""Tables of evaluators that embed texts: figures by language pair, and thresholds of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations

from recipekit.report.blocks import Line, ReportSection, Strong, Table
from recipekit.report.metric_labels import metric_label
from recipekit.report.metrics import SIGNIFICANT, EvaluatorMetrics, Row
from recipekit.report.numbers import signed

__all__ = ["language_section", "thresholds_table", "without_languages"]

Cells = Mapping[tuple[str, str], Row]
"""The row of each ordered pair of languages."""


def without_languages(measured: EvaluatorMetrics) -> EvaluatorMetrics:
    """Return the metrics without those of single language pairs.

    Twelve languages have 132 pairs, which `language_section` shows as a square.
    """
    rows = [row for row in measured.rows if not row.get("languages")]
    return replace(measured, rows=rows)


def language_section(measured: EvaluatorMetrics) -> ReportSection | None:
    """The main metric of every language pair: a table for each system, then tested differences.

    None if the evaluator measures no language pairs.
    """
    tables = list(_language_tables(measured))
    return ReportSection("By language", tables) if tables else None


def _language_tables(measured: EvaluatorMetrics) -> Iterator[Table]:
    label = metric_label(measured.metrics[0])
    by_system = {system: _cells(measured, system) for system in measured.systems}
    for system, cells in by_system.items():
        if cells:
            values = {pair: f"{row['value']:.3f}" for pair, row in cells.items()}
            yield _square(f"{label} of {system}, from row to column", values)
    for system, other in permutations(measured.systems, 2):
        differences = {
            pair: _difference(row["differences"][other])
            for pair, row in by_system[system].items()
            if other in (row.get("differences") or {})
        }
        if differences:
            title = f"{label}, {system} - {other}; significant differences are bold"
            yield _square(title, differences)


def _cells(measured: EvaluatorMetrics, system: str) -> Cells:
    """The rows of a system's main metric by language pair."""
    metric = measured.metrics[0]
    return {
        (row["languages"][0], row["languages"][1]): row
        for row in measured.rows
        if row["system"] == system
        and row.get("languages")
        and row["metric"] == f"{metric} {'-'.join(row['languages'])}"
    }


def _square(title: str, values: Mapping[tuple[str, str], Line]) -> Table:
    languages = list(dict.fromkeys(language for pair in values for language in pair))
    rows = [[a, *(values.get((a, b), "") for b in languages)] for a in languages]
    return Table(["", *languages], rows, title=title)


def _difference(test: Mapping[str, float]) -> Line:
    text = signed(test["difference"])
    return Strong(text) if test["p_adjusted"] < SIGNIFICANT else text


def thresholds_table(measured: EvaluatorMetrics) -> Table | None:
    """The similarity from which pairs count as positive, by system; None without thresholds."""
    found = {
        (str(row["system"]), str(row["metric"])): f"{row['threshold']:.4f}"
        for row in measured.rows
        if row.get("threshold") is not None
    }
    metrics = list(dict.fromkeys(metric for _, metric in found))
    systems = dict.fromkeys(system for system, _ in found)
    rows = [[system, *(found.get((system, m), "-") for m in metrics)] for system in systems]
    return Table(["best threshold for", *map(metric_label, metrics)], rows) if rows else None
