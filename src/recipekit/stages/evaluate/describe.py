"""How the report describes metrics: tables of systems, and the tested differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipekit.report.blocks import (
    Block,
    Figure,
    Line,
    ReportSection,
    StageReport,
    Text,
    join,
    spans,
)
from recipekit.report.efficiency import EFFICIENCY, efficiency_sections
from recipekit.report.metrics import (
    SIGNIFICANT,
    UNTESTED,
    EvaluatorMetrics,
    counted_item,
    differences_table,
    evaluator_metrics,
    headline,
    metrics_figure,
    metrics_table,
)
from recipekit.report.recall_by_depth import RECALL_BY_DEPTH, recall_figure
from recipekit.report.run_folder import RunFolder
from recipekit.report.text_tables import language_section, thresholds_table, without_languages
from recipekit.stages.evaluate.changed_queries import changed_queries

__all__ = ["describe"]


def describe(run: RunFolder) -> StageReport:
    """Describe the metrics of every system with their intervals and tested differences."""
    rows: list[dict[str, Any]] = run.json("evaluate", "metrics.json", list) or []
    if not rows:
        return StageReport()
    found = evaluator_metrics(rows, _efficiency(run, rows))
    return StageReport(
        headline=next(filter(None, map(headline, found)), None),
        sentence=_sentence(run, rows),
        results=[
            *(_result(run, measured) for measured in found),
            *_similarity(run.summary("evaluate").get("similarity") or {}),
            *_method(rows),
            *_costs(found),
        ],
        details=[section for measured in found if (section := changed_queries(run, measured))],
        at_end=[block for measured in found for block in _at_end(measured)],
    )


def _efficiency(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the systems of each evaluator cost, as far as it was measured."""
    names = dict.fromkeys(str(row.get("evaluator") or "") for row in rows)
    return {
        name: run.json("evaluate", f"rankings/{name}/{EFFICIENCY}", dict) or {} for name in names
    }


def _sentence(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> Line:
    measured = (str(row["system"]) for row in rows if not row.get("variant_of"))
    systems = ", ".join(dict.fromkeys(measured))
    return (f"Evaluated {systems} with ", *spans(run.components("evaluate", "evaluators")), ".")


def _result(run: RunFolder, measured: EvaluatorMetrics) -> ReportSection:
    main = without_languages(measured)
    blocks = [
        metrics_figure(measured),
        _recall(run, measured),
        metrics_table(main),
        differences_table(main),
        thresholds_table(measured),
        language_section(measured),
        *efficiency_sections(measured),
    ]
    return ReportSection(measured.title, [block for block in blocks if block])


def _recall(run: RunFolder, measured: EvaluatorMetrics) -> Figure | None:
    """The recall of every system by depth, if the evaluator kept it."""
    file = f"rankings/{measured.evaluator}/{RECALL_BY_DEPTH}"
    where = ", ".join(filter(None, [measured.evaluator, measured.split]))
    title = f"Recall by depth ({where})"
    return recall_figure(title, run.json("evaluate", file, dict) or {})


def _at_end(measured: EvaluatorMetrics) -> Iterator[Block]:
    yield ReportSection(measured.title, [metrics_table(without_languages(measured))])
    for section in efficiency_sections(measured):
        yield from section.blocks
    if differences := differences_table(measured, metrics=measured.metrics[:1]):
        yield differences


def _similarity(similarities: Mapping[str, str]) -> Iterator[Text]:
    """How the vectors of each encoder were compared."""
    if similarities:
        listed = join([f"{system} by {name}" for system, name in similarities.items()])
        yield Text(("Vectors are compared by each encoder's own similarity: ", *spans(listed), "."))


def _method(rows: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """How intervals and p-values were computed, if there are any."""
    intervals: dict[tuple[float, int], dict[str, None]] = {}
    for row in rows:
        if row.get("bootstrap_samples"):
            key = (row["confidence_level"], row["bootstrap_samples"])
            intervals.setdefault(key, {})[counted_item(row)] = None
    if any(row.get("value") is not None and row.get("low") is None for row in rows):
        yield Text(UNTESTED)
    if not intervals:
        return
    kinds = [
        f"{100 * level:g} % percentile bootstrap intervals over the {' and '.join(items)}, from "
        f"{samples:,} samples"
        for (level, samples), items in intervals.items()
    ]
    yield Text(
        f"Brackets hold {', or '.join(kinds)} that all systems share. "
        "P-values are two-sided (paired bootstrap, shift method) and adjusted for all differences "
        f"of a table by Holm's method. A difference is significant if its adjusted p-value is "
        f"below {SIGNIFICANT:g}. The best value of each metric is bold."
    )


def _costs(found: Sequence[EvaluatorMetrics]) -> Iterator[Text]:
    """How times were measured, if there are any."""
    if any(measured.efficiency for measured in found):
        yield Text(
            "Speeds are those of this machine when the vectors were made, which can be an earlier "
            "run. Texts are embedded and searched in batches, so a single query takes longer."
        )
