"""Quality next to cost: speed and size of systems, compressed vectors, and second stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipekit.report.blocks import Line, ReportSection, Strong, Table
from recipekit.report.metric_labels import metric_label
from recipekit.report.metrics import Difference, EvaluatorMetrics, Row
from recipekit.report.numbers import figure, index_size, p_value, parameter_count, signed

__all__ = [
    "EFFICIENCY",
    "compression_table",
    "efficiency_sections",
    "efficiency_table",
    "rerank_table",
]

Costs = Mapping[str, Any]

EFFICIENCY = "efficiency.json"
"""The file in an evaluator's folder with what each system and variant costs, by name. The values
depend on the machine, so they are not in `metrics.json`."""


def efficiency_sections(measured: EvaluatorMetrics) -> list[ReportSection]:
    """All tables of an evaluator that set quality next to cost, each under a heading."""
    tables = {
        "Speed and size": efficiency_table(measured),
        "Compressed vectors": compression_table(measured),
        "Second stage": rerank_table(measured),
    }
    return [ReportSection(title, [table]) for title, table in tables.items() if table]


# Systems
# -------------------------------------------------------------------------------------------------


def efficiency_table(measured: EvaluatorMetrics) -> Table | None:
    """Each system's main metric next to its speed, size and parameters, as far as known.

    None where nothing is known. Columns without any value are left out.
    """
    metric, costs = measured.metrics[0], measured.efficiency
    known = [system for system in measured.systems if costs.get(system)]
    if not known:
        return None
    columns = {
        metric_label(metric): [_value(measured.row(system, metric)) for system in known],
        "passages/s": [figure(costs[system].get("passages_per_second")) for system in known],
        "queries/s": [figure(costs[system].get("queries_per_second")) for system in known],
        "search ms/query": [figure(costs[system].get("search_ms_per_query")) for system in known],
        "index": [index_size(costs[system].get("index_bytes")) for system in known],
        "dimensions": [figure(costs[system].get("dimension")) for system in known],
        "parameters": [parameter_count(costs[system].get("parameters")) for system in known],
        "device": [str(costs[system].get("device") or "-") for system in known],
        "precision": [str(costs[system].get("precision") or "-") for system in known],
    }
    kept = {name: cells for name, cells in columns.items() if set(cells) != {"-"}}
    rows = [[system, *cells] for system, *cells in zip(known, *kept.values(), strict=True)]
    return Table(["system", *kept], rows)


# Variants
# -------------------------------------------------------------------------------------------------


def compression_table(measured: EvaluatorMetrics) -> Table | None:
    """The full vectors, then each compression: bytes, main metric, and the loss with its test."""
    variants = _variants(measured, "compression")
    if not variants:
        return None
    base = str(variants[0]["variant_of"])
    metric = measured.metrics[0]
    full = measured.efficiency.get(base, {})
    rows: list[list[Line]] = [
        [f"{base}, full vectors", *_sizes(full), _value(measured.row(base, metric)), *[""] * 3]
    ]
    for row in variants:
        costs = measured.efficiency.get(str(row["system"]), {})
        loss = _difference(row, base)
        rows.append([str(row["system"]), *_sizes(costs), _value(row), *_tested(loss)])
    header = ["vectors", "dimensions", "bytes/vector", "index", metric_label(metric)]
    return Table([*header, "difference", "adjusted", "significant"], rows)


def _sizes(costs: Costs) -> list[str]:
    return [
        figure(costs.get("dimension")),
        figure(costs.get("bytes_per_vector")),
        index_size(costs.get("index_bytes")),
    ]


def rerank_table(measured: EvaluatorMetrics) -> Table | None:
    """Each first stage and its second stage: all metrics, the pairs, the time, and the model."""
    variants = _variants(measured, "rerank")
    if not variants:
        return None
    metrics = measured.metrics
    rows: list[list[Line]] = []
    for row in variants:
        system, base = str(row["system"]), str(row["variant_of"])
        costs = measured.efficiency.get(system, {})
        first = [_value(measured.row(base, metric)) for metric in metrics]
        second = [_value(measured.row(system, metric)) for metric in metrics]
        time = _first_stage_ms(measured.efficiency.get(base, {}))
        own = _hardware(measured.efficiency.get(base, {}))
        rows.append([base, *first, "", "", "-", "-", figure(time), *own])
        tested = _difference(row, base)
        rows.append(
            [
                system,
                *second,
                f"{signed(tested.value)} {tested.interval}",
                p_value(tested.p_adjusted),
                figure(costs.get("pairs")),
                figure(costs.get("pairs_per_second")),
                figure(costs.get("ms_per_query")),
                *_hardware(costs),
            ]
        )
    tests = [f"difference in {metric_label(metrics[0])}", "adjusted"]
    costs_header = ["pairs", "pairs/s", "ms/query", "parameters", "device", "precision"]
    header: list[Line] = ["stage", *map(metric_label, metrics), *tests, *costs_header]
    return Table(header, rows)


def _hardware(costs: Costs) -> list[str]:
    """The parameters of a model, where it ran, and its arithmetic."""
    where = [str(costs.get(name) or "-") for name in ("device", "precision")]
    return [parameter_count(costs.get("parameters")), *where]


def _first_stage_ms(costs: Costs) -> float | None:
    """Milliseconds per query of embedding it, where that was measured, and of the search."""
    search, speed = costs.get("search_ms_per_query"), costs.get("queries_per_second")
    if search is None:
        return None
    return float(search) + (1000 / float(speed) if speed else 0.0)


def _variants(measured: EvaluatorMetrics, kind: str) -> list[Row]:
    """The rows of the main metric of one kind of variant."""
    metric = measured.metrics[0]
    rows = measured.variants
    return [row for row in rows if row["variant"] == kind and row["metric"] == metric]


def _difference(row: Row, base: str) -> Difference:
    differences = EvaluatorMetrics("", "", [row]).differences()
    return next(found for found in differences if found.other == base)


def _tested(found: Difference) -> list[Line]:
    verdict: Line = Strong(found.verdict) if found.is_significant else found.verdict
    return [f"{signed(found.value)} {found.interval}", p_value(found.p_adjusted), verdict]


def _value(row: Row | None) -> str:
    if row is None or row.get("value") is None:
        return "-"
    if row.get("low") is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
