"""The data card of an exported data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recipekit.exporters.cards import figures, reproduction, write_card
from recipekit.report.blocks import Block, Code, Line, Listing, ReportSection, Table, Text
from recipekit.report.counts import counts_table, rows_table

__all__ = ["write_data_card"]

FILES: Final[Mapping[str, str]] = {
    "corpus.jsonl": "passages: `_id`, `title`, `text`",
    "queries.jsonl": "queries: `_id`, `text`",
    "qrels/train.tsv": "relevant passages of the train queries, with those that judges found",
    "qrels/dev.tsv": "relevant passages of the dev queries, from the sources",
    "qrels/test.tsv": "relevant passages of the test queries, from the sources",
    "judgments.parquet": "every judged pair of a query and a passage",
    "triplets.parquet": "`query`, `positive`, `negative_1` …, the hardest negative first",
}
FIELDS: Final = {
    "query_id": "the `_id` of the query",
    "passage_id": "the `_id` of the passage",
    "verdict": "`positive`, `negative`, or `ignore` (too uncertain to train on)",
    "grade": "the grade of relevance, if the source or judge gives grades",
    "confidence": "the judge's confidence between 0 and 1, if known",
    "reason": "the judge's reason, if it gives one",
    "judge": "`source` for the source's own label, else the name of a judge in the recipe",
}
VERDICTS: Final = {
    "verdicts.positive": "positive",
    "verdicts.negative": "negative",
    "verdicts.ignore": "ignore",
    "unjudged": "not judged",
    "false_negatives.positive": "false negatives found",
}
USAGE: Final = """\
from datasets import load_dataset

judgments = load_dataset("path/to/this/folder", "judgments")"""

SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
"""The Hub's names for numbers of rows."""


def write_data_card(card: Mapping[str, Any], rows: Mapping[str, int], folder: Path) -> None:
    """Write the card and its figures into a folder.

    Args:
        card: Its content (see `recipekit.exporters.cards`).
        rows: The number of rows in each file.
        folder: The folder of the data set.
    """
    name = str(card.get("name") or "Judged retrieval data")
    blocks: list[Block] = []
    if description := card.get("description"):
        blocks.append(Text(str(description)))
    blocks += [
        Text(
            "Queries, passages and relevance judgments with three verdicts, created with "
            "recipekit. A pair without a row in the judgments was never judged."
        ),
        ReportSection("Files", [_files(rows)]),
        ReportSection("Judgments", [*_judgments(card), *_described(card)]),
        *figures(card, "data"),
        ReportSection("Usage", [Listing(USAGE, "python")]),
        reproduction(card),
    ]
    write_card(folder, _front_matter(name, rows), name, blocks)


def _files(rows: Mapping[str, int]) -> Table:
    body: list[list[Line]] = [
        [Code(file), _with_code(FILES[file]), f"{count:,}"] for file, count in rows.items()
    ]
    return Table(["file", "content", "rows"], body, left=2)


def _judgments(card: Mapping[str, Any]) -> list[Block]:
    fields: list[list[Line]] = [[Code(field), _with_code(text)] for field, text in FIELDS.items()]
    blocks: list[Block] = [Table(["field", "content"], fields, left=2)]
    summary = card.get("judging") or {}
    if verdicts := counts_table(summary, VERDICTS, title="Pairs by verdict"):
        blocks.append(verdicts)
    judges = {
        name: {"verdicts": counts.get("judged", 0), **(counts.get("verdicts") or {})}
        for name, counts in (summary.get("judges") or {}).items()
    }
    if table := rows_table(judges, name="judge", title="Final verdicts by judge"):
        blocks.append(table)
    return blocks


def _described(card: Mapping[str, Any]) -> list[Block]:
    """How reliable the judges are, and what their calls cost, as the report shows it."""
    return list((card.get("blocks") or {}).get("data") or [])


def _with_code(text: str) -> Line:
    """Text in which names between backticks are code."""
    parts = text.split("`")
    return tuple(Code(part) if index % 2 else part for index, part in enumerate(parts))


def _front_matter(name: str, rows: Mapping[str, int]) -> dict[str, Any]:
    configs = [
        {"config_name": file.partition(".")[0], "data_files": file}
        for file in rows
        if not file.startswith("qrels/")
    ]
    return {
        "pretty_name": name,
        "task_categories": ["text-retrieval"],
        "tags": ["recipekit"],
        "size_categories": [_size_category(rows.get("judgments.parquet", 0))],
        "configs": configs,
    }


def _size_category(n: int) -> str:
    return next((name for limit, name in SIZES if n < limit), "n>10M")
