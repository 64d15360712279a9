"""Conformance of what comes after training: evaluators and exporters."""

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
    """Check an evaluator: a full row for each system and metric, values inside their intervals, and
    the same again.
    """
    check_spec(spec, "evaluator")
    name = type(spec).__name__
    rows = [dict(row) for row in spec.build(context).evaluate(systems)]
    expect(rows, f"{name} measured nothing")
    json.dumps(rows)
    measured = set()
    for row in rows:
        missing = [column for column in COLUMNS if column not in row]
        expect(not missing, f"{name}: a row lacks {', '.join(missing)}")
        expect(row["split"] in SPLITS, f"{name}: {row['split']!r} is no split")
        known = [system.name for system in systems]
        expect(row["system"] in known, f"{name}: {row['system']!r} is none of the systems {known}")
        expect((row["low"] is None) == (row["high"] is None), f"{name}: an interval has one end")
        inside = row["low"] is None or row["low"] <= row["value"] <= row["high"]
        expect(
            inside,
            f"{name}: {row['metric']} {row['value']} is outside of its interval {row['low']} to {row['high']}",
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
    expect(again == rows, f"{name} measures something else when it measures again")


def check_exporter(
    spec: ExporterSpec, context: Context, inputs: Mapping[str, Path], card: Mapping[str, Any]
) -> None:
    """Check an exporter: it writes something, into its folder alone, leaves the artifacts as they
    were, and says what in JSON.

    Args:
        spec: The exporter.
        context: Where it is built; the folder that it writes stands under the scratch folder.
        inputs: The finished artifacts that it reads, stage name to folder.
        card: As the export stage gives it; a card with nothing but a name must do, too.
    """
    check_spec(spec, "exporter")
    name = type(spec).__name__
    before = {
        file: file.stat().st_mtime_ns for folder in inputs.values() for file in folder.rglob("*")
    }
    for number, told in enumerate((card, {"name": "bare"})):
        folder = context.scratch / f"exported-{number}"
        folder.mkdir(parents=True)
        said = spec.build(context).export(inputs, told, folder)
        json.dumps(dict(said))
        expect(
            any(file.is_file() for file in folder.rglob("*")),
            f"{name} wrote no file into its folder",
        )
    after = {
        file: file.stat().st_mtime_ns for folder in inputs.values() for file in folder.rglob("*")
    }
    expect(after == before, f"{name} changed the artifacts that it reads")
