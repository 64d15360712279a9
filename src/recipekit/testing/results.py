"""Conformance checks of evaluators and exporters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipekit.component import Context, EvaluatorSpec, ExporterSpec, System
from recipekit.records import SPLITS
from recipekit.testing.specs import check_spec, expect

__all__ = ["check_evaluator", "check_exporter"]

COLUMNS = ("split", "system", "metric", "value", "low", "high", "queries")


def check_evaluator(spec: EvaluatorSpec, context: Context, systems: Sequence[System]) -> None:
    """Check an evaluator: a row per system and metric, valid intervals, and repeatability."""
    check_spec(spec, "evaluator")
    name = type(spec).__name__
    rows = [dict(row) for row in spec.build(context).evaluate(systems)]
    expect(rows, f"{name} returns no rows")
    json.dumps(rows)
    measured = set()
    for row in rows:
        missing = [column for column in COLUMNS if column not in row]
        expect(not missing, f"{name}: a row lacks {', '.join(missing)}")
        expect(row["split"] in SPLITS, f"{name}: {row['split']!r} is not a split")
        known = [system.name for system in systems]
        expect(
            row["system"] in known, f"{name}: {row['system']!r} is not one of the systems {known}"
        )
        expect(
            (row["low"] is None) == (row["high"] is None), f"{name}: an interval has only one end"
        )
        inside = row["low"] is None or row["low"] <= row["value"] <= row["high"]
        expect(
            inside,
            f"{name}: {row['metric']} {row['value']} is outside its interval, "
            f"{row['low']} to {row['high']}",
        )
        expect(
            isinstance(row["queries"], int) and row["queries"] > 0,
            f"{name}: queries is {row['queries']!r}",
        )
        key = (row["split"], row["system"], row["metric"])
        expect(key not in measured, f"{name}: two rows for {key}")
        measured.add(key)
    metrics = {(split, metric) for split, _, metric in measured}
    expect(
        len(measured) == len(metrics) * len(systems), f"{name}: not every system has every metric"
    )
    again = [dict(row) for row in spec.build(context).evaluate(systems)]
    expect(again == rows, f"{name} returns other rows in a second run")


def check_exporter(
    spec: ExporterSpec, context: Context, inputs: Mapping[str, Path], card: Mapping[str, Any]
) -> None:
    """Check an exporter: it writes only into its folder, and returns JSON values.

    Args:
        spec: The exporter.
        context: The context; the exporter writes into a folder below the scratch folder.
        inputs: The folders of the finished artifacts, by stage.
        card: A card as the export stage makes it. The exporter must also accept one with a name
            only.
    """
    check_spec(spec, "exporter")
    name = type(spec).__name__
    before = {
        file: file.stat().st_mtime_ns for folder in inputs.values() for file in folder.rglob("*")
    }
    for number, content in enumerate((card, {"name": "bare"})):
        folder = context.scratch / f"exported-{number}"
        folder.mkdir(parents=True)
        written = spec.build(context).export(inputs, content, folder)
        json.dumps(dict(written))
        expect(
            any(file.is_file() for file in folder.rglob("*")),
            f"{name} writes no file into its folder",
        )
    after = {
        file: file.stat().st_mtime_ns for folder in inputs.values() for file in folder.rglob("*")
    }
    expect(after == before, f"{name} changes the artifacts that it reads")
