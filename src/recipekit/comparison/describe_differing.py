"""The queries and items that differ most between models, as blocks."""

from __future__ import annotations

from collections.abc import Sequence

from recipekit.comparison.differing import DifferingQuery, RankedPassage
from recipekit.comparison.result import Comparison
from recipekit.report.blocks import Block, Code, Line, ReportSection, Span, Strong, Table
from recipekit.report.numbers import signed

__all__ = [
    "differing_sections",
    "differing_title",
    "most_different",
    "noun_of",
    "side_by_side",
]


def most_different(comparison: Comparison) -> list[DifferingQuery]:
    """For each model, the query or item with the largest difference, of its first evaluator."""
    found: dict[str, DifferingQuery] = {}
    for query in comparison.queries:
        best = found.setdefault(query.model, query)
        is_comparable = query.evaluator == best.evaluator
        if is_comparable and abs(query.difference) > abs(best.difference):
            found[query.model] = query
    return list(found.values())


def noun_of(found: Sequence[DifferingQuery], query: str, item: str) -> str:
    """Return the noun for what was searched, or for items of files if any are among them."""
    return item if any(each.parts for each in found) else query


def differing_title(comparison: Comparison) -> str:
    """Return the title of the queries and items that differ most."""
    return f"{noun_of(comparison.queries, 'Queries', 'Items')} that differ most"


def differing_sections(comparison: Comparison) -> list[Block]:
    """Sections of the queries that each model wins and loses most, both rankings side by side."""
    sections: list[Block] = []
    groups: dict[tuple[str, str, bool], list[DifferingQuery]] = {}
    for query in comparison.queries:
        key = (query.evaluator, query.model, query.difference > 0)
        groups.setdefault(key, []).append(query)
    several = len({query.evaluator for query in comparison.queries}) > 1
    for (evaluator, model, is_won), queries in groups.items():
        verb = "Won" if is_won else "Lost"
        where = f", {evaluator}" if several else ""
        title = f"{verb} most by {model}{where}"
        sections.append(ReportSection(title, [side_by_side(query) for query in queries]))
    return sections


def side_by_side(query: DifferingQuery) -> Table:
    """Return both rankings of a query, or what an item of a file has."""
    title = (
        f"{query.query} ({query.metric} {query.reference_value:.3f} → {query.value:.3f}, "
        f"{signed(query.difference)})"
    )
    if query.parts:
        parts: list[list[Line]] = [[name, text] for name, text in query.parts]
        header: list[Line] = [f"item {query.id}", f"{query.model} against {query.reference}"]
        return Table(header, parts, left=2, title=title)
    rows: list[list[Line]] = []
    for place in range(max(len(query.passages), len(query.reference_passages))):
        both = (query.reference_passages, query.passages)
        rows.append([f"{place + 1}", *(_passage(found, place) for found in both)])
    return Table(["rank", query.reference, query.model], rows, left=3, title=title)


def _passage(found: Sequence[RankedPassage], place: int) -> Line:
    if place >= len(found):
        return ""
    passage = found[place]
    label: Span = Strong("positive: ") if passage.positive else ""
    return (label, f"{passage.text} ", Code(passage.id))
