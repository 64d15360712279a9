"""Conformance checks of evaluators and exporters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.component import (
    Context,
    Evaluator,
    EvaluatorSpec,
    Exporter,
    ExporterSpec,
    System,
)
from recipekit.records import SPLITS
from recipekit.testing.promises import (
    build,
    call,
    conformance_check,
    expect,
    expect_json_map,
    expect_methods,
    found,
    is_number,
    items,
    new_folder,
    shown,
)
from recipekit.testing.specs import check_spec

__all__ = ["check_evaluator", "check_exporter"]

COLUMNS = ("split", "system", "metric", "value", "low", "high", "queries")
ROWS = f"it must return rows, mappings with {', '.join(COLUMNS)}"


@conformance_check
def check_evaluator(spec: EvaluatorSpec, context: Context, systems: Sequence[System]) -> None:
    """Check an evaluator: a row per system and metric, valid intervals, and repeatability.

    Args:
        spec: The evaluator.
        context: The context.
        systems: The systems that it measures, at least one.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "evaluator")
    name = type(spec).__name__
    _check_measured_queries(name, spec, context)
    rows = _evaluate(name, spec, context, systems)
    if spec.reads_texts:
        systems = [system for system in systems if system.embed is not None]
    expect(rows, f"{name}.evaluate() returns no rows")
    known = [system.name for system in systems]
    measured = set()
    variants = {row["system"]: row["variant_of"] for row in rows if row.get("variant_of")}
    for variant, base in variants.items():
        expect(
            base in known,
            f"{name}.evaluate(): variant_of is {shown(base)}, not one of the systems {known}",
        )
        expect(variant not in known, f"{name}.evaluate(): the variant {shown(variant)} is a system")
    for row in rows:
        every = [*known, *variants]
        _check_row(f"{name}.evaluate()", row, every, ("",) if spec.reads_texts else SPLITS)
        if row.get("variant_of"):
            continue
        key = (row["split"], row["system"], row["metric"])
        expect(key not in measured, f"{name}.evaluate(): two rows for {key}")
        measured.add(key)
    metrics = {(split, metric) for split, _, metric in measured}
    expect(
        len(measured) == len(metrics) * len(systems),
        f"{name}.evaluate(): not every system has every metric",
    )
    again = _evaluate(name, spec, context, systems)
    expect(again == rows, f"{name}.evaluate() returns other rows in a second run")


def _evaluate(
    name: str, spec: EvaluatorSpec, context: Context, systems: Sequence[System]
) -> list[dict[str, Any]]:
    evaluator = build(spec, Evaluator, context)
    expect_methods(name, evaluator, Evaluator, "evaluate")
    rows = items(f"{name}.evaluate()", ROWS, lambda: evaluator.evaluate(systems))
    for row in rows:
        expect(isinstance(row, Mapping), f"{name}.evaluate() returns {found(row)}; {ROWS}")
        expect_json_map(f"{name}.evaluate(): a row", row)
    return [dict(row) for row in rows]


def _check_row(
    name: str, row: Mapping[str, Any], systems: Sequence[str], splits: Sequence[str]
) -> None:
    missing = [column for column in COLUMNS if column not in row]
    expect(not missing, f"{name}: a row lacks {', '.join(missing)}")
    expect(
        isinstance(row["split"], str) and row["split"] in splits,
        f"{name}: {shown(row['split'])} is not a split",
    )
    expect(
        row["system"] in systems,
        f"{name}: {shown(row['system'])} is not one of the systems {systems}",
    )
    metric, value, low, high = (row[column] for column in ("metric", "value", "low", "high"))
    expect(isinstance(metric, str), f"{name}: metric is {shown(metric)}; a name is expected")
    expect(
        is_number(value), f"{name}: the value of {metric} is {shown(value)}; a number is expected"
    )
    expect((low is None) == (high is None), f"{name}: an interval has only one end")
    if low is not None:
        expect(
            is_number(low) and is_number(high),
            f"{name}: the interval of {metric} is {shown(low)} to {shown(high)}; numbers are "
            "expected",
        )
        expect(
            low <= value <= high,
            f"{name}: {metric} {value} is outside its interval, {low} to {high}",
        )
    queries = row["queries"]
    is_count = isinstance(queries, int) and not isinstance(queries, bool) and queries > 0
    expect(is_count, f"{name}: queries is {shown(queries)}; an int above 0 is expected")


def _check_measured_queries(name: str, spec: EvaluatorSpec, context: Context) -> None:
    """Expect rows of queries of the context's data set, if it has one."""
    if context._dataset is None or spec.reads_texts:
        return
    expected = "rows of queries, an integer array, or None is expected"
    rows = call(
        f"{name}.measured_queries()", expected, lambda: spec.measured_queries(context.dataset)
    )
    if rows is not None:
        is_rows = (
            isinstance(rows, np.ndarray)
            and rows.ndim == 1
            and np.issubdtype(rows.dtype, np.integer)
            and bool(((rows >= 0) & (rows < len(context.dataset.queries))).all())
        )
        expect(is_rows, f"{name}.measured_queries() returns {found(rows)}; {expected}")


@conformance_check
def check_exporter(
    spec: ExporterSpec, context: Context, files: Mapping[str, Path], card: Mapping[str, Any]
) -> None:
    """Check an exporter: it writes only into its folder, and returns JSON values.

    Args:
        spec: The exporter.
        context: The context; the exporter writes into a folder below the scratch folder.
        files: What finished stages wrote, by name, as `Exporter.export` gets it.
        card: A card as the export stage makes it. The exporter must also accept one with a name
            only.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "exporter")
    name = type(spec).__name__
    before = _states(files)
    for number, content in enumerate((card, {"name": "bare"})):
        folder = new_folder(context, "exported")
        exporter = build(spec, Exporter, context)
        expect_methods(name, exporter, Exporter, "export")
        expected = "it must return counts" if number == 0 else "every key of a card is optional"
        written = call(
            f"{name}.export()", expected, partial(exporter.export, files, content, folder)
        )
        expect_json_map(f"{name}.export()", written)
        expect(
            any(file.is_file() for file in folder.rglob("*")),
            f"{name}.export() writes no file into its folder",
        )
    expect(_states(files) == before, f"{name}.export() changes the artifacts that it reads")


def _states(files: Mapping[str, Path]) -> dict[Path, int]:
    every = (file for path in files.values() for file in (path, *path.rglob("*")))
    return {file: file.stat().st_mtime_ns for file in every}
