"""How the report describes mined candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recipekit.report.blocks import (
    Block,
    Figure,
    Line,
    ReportSection,
    StageReport,
    Table,
    Text,
    spans,
)
from recipekit.report.counts import counts_table, rows_table
from recipekit.report.numbers import duration, figure, percent
from recipekit.report.run_folder import RunFolder
from recipekit.stages.score_histograms import of_some_queries, score_histograms

__all__ = ["describe"]

LABELS: Final = {
    "queries": "queries",
    "candidates": "candidates",
    "candidates_per_query": "candidates per query",
    "own_texts": "unlabelled passages with a query's own text, left out?",
    "source_labels.pairs": "source positives",
    "source_labels.queries": "queries with a source positive",
    "source_labels.retrieved": "source positives retrieved",
}


def describe(run: RunFolder) -> StageReport:
    """Describe the candidates: their number, each retriever's recall, and their overlap."""
    if not run.finished("mine"):
        return StageReport()
    summary = run.summary("mine")
    details = list(_details(summary))
    if figures := list(_scores(run)):
        details.append(ReportSection("Scores of the retrievers", figures))
    return StageReport(sentence=_sentence(run), details=details)


def _scores(run: RunFolder) -> Iterator[Figure]:
    """Histograms of source positives and other candidates, unless judges tell these apart."""
    if run.finished("judge"):
        return
    candidates = run.table("mine", "candidates.arrow")
    if candidates is None:
        return
    candidates = of_some_queries(candidates)
    positive = candidates["source_positive"].to_numpy()
    groups = {"source positive": positive, "other candidate": ~positive}
    yield from score_histograms(candidates, groups, title="by source label", group="source label")


def _sentence(run: RunFolder) -> Line:
    section = run.section("mine")
    limit = section.get("candidates_per_query")
    kept = f"the best {limit:,} per query kept" if limit else "all of them kept"
    return (
        "Retrieved candidates with ",
        *spans(run.components("mine", "retrievers")),
        f", fused by {section.get('fusion', 'rrf')}, {kept}.",
    )


def _details(summary: Mapping[str, Any]) -> Iterator[Block]:
    if sizes := counts_table(summary, LABELS):
        yield sizes
    if recall := _recall(summary.get("recall") or {}):
        yield recall
    if retrievers := _retrievers(summary):
        yield retrievers
    for pair, overlap in (summary.get("overlap") or {}).items():
        names = " and ".join(pair.split(" & "))
        yield Text(
            f"On average, {percent(overlap)} of the passages that {names} find are the same."
        )
    if engines := rows_table(summary.get("engines") or {}, name="engine"):
        yield engines


def _recall(recall: Mapping[str, Any]) -> Figure | None:
    """Recall of the source positives by depth: a row for each retriever, the fused list last."""
    lists = {**(recall.get("retrievers") or {}), "fused": recall.get("fused")}
    lists = {name: depths for name, depths in lists.items() if depths}
    if not lists:
        return None
    depths = sorted({depth for recalls in lists.values() for depth in recalls}, key=int)
    rows = [
        [name, *(f"{recalls[depth]:.3f}" if depth in recalls else "" for depth in depths)]
        for name, recalls in lists.items()
    ]
    title = "Recall of the source positives by depth"
    series = {
        name: [(float(depth), value) for depth, value in recalls.items()]
        for name, recalls in lists.items()
    }
    table = Table(["retriever", *depths], rows, title=title)
    return Figure(title, "depth", series, table, log_x=True)


def _retrievers(summary: Mapping[str, Any]) -> Table | None:
    """How long each retriever searched, and for how many queries it found nothing."""
    seconds = summary.get("seconds") or {}
    empty = summary.get("nothing_found") or {}
    rows = [[name, duration(took), figure(empty.get(name, 0))] for name, took in seconds.items()]
    header = ["retriever", "search time", "queries without a result"]
    return Table(header, rows) if rows else None
