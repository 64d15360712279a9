"""How the report describes collected data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from recipekit.records import SPLITS
from recipekit.report.blocks import Block, Line, StageReport, Strong, Text, spans
from recipekit.report.counts import counts_table, rows_table
from recipekit.report.numbers import plural
from recipekit.report.run_folder import RunFolder

__all__ = ["describe"]

LABELS: Final = {
    "passages": "passages",
    "queries.train": "train queries",
    "queries.dev": "dev queries",
    "queries.test": "test queries",
    "labels.positive": "source positives",
    "labels.negative": "source negatives",
    "hidden.positives": "positives held out on purpose",
    "hidden.queries": "queries with held-out positives",
    "merged.passages": "duplicate passages merged?",
    "merged.queries": "duplicate queries merged?",
    "merged.labels": "duplicate labels merged?",
    "merged.labels_both_positive_and_negative": "labels both positive and negative?",
    "cleaned_records": "records with characters replaced?",
    "dropped.blank_passages": "blank passages dropped?",
    "dropped.blank_queries": "blank queries dropped?",
    "dropped.train_queries_held_out_elsewhere": "train queries dropped: also in dev or test?",
    "dropped.dev_queries_held_out_elsewhere": "dev queries dropped: also in test?",
    "dropped.queries_without_positive": "queries without a positive dropped?",
    "dropped.labels_of_dropped_texts": "labels of dropped texts?",
    "dropped.labels_with_unknown_ids": "labels with unknown ids?",
    "dev_queries_taken_from_train": "dev queries taken from train?",
    "positives_shared_by_splits.train_dev": "positives shared by train and dev?",
    "positives_shared_by_splits.train_test": "positives shared by train and test?",
    "positives_shared_by_splits.dev_test": "positives shared by dev and test?",
}

SOURCE_LABELS: Final = {"use": "kind"}


def describe(run: RunFolder) -> StageReport:
    """Describe the collected data: sizes, duplicates, and what each source gave."""
    summary = run.summary("collect")
    return StageReport(sentence=_sentence(run), details=list(_details(summary)))


def _sentence(run: RunFolder) -> Line:
    dataset = run.dataset
    if dataset is None:
        return ""
    codes, sizes = np.unique(dataset.queries.table["split"].to_numpy(), return_counts=True)
    splits = ", ".join(
        f"{size:,} {SPLITS[code]}"
        for code, size in zip(codes.tolist(), sizes.tolist(), strict=True)
    )
    positives = pc.sum(pc.greater(dataset.labels["grade"], 0)).as_py() or 0
    passages = plural(len(dataset.passages), "passage")
    queries = plural(len(dataset.queries), "query", "queries")
    return (
        f"Collected {passages} and {queries} ({splits}) with {plural(positives, 'positive')} from ",
        *spans(run.components("collect", "sources")),
        ".",
    )


def _details(summary: Mapping[str, Any]) -> Iterator[Block]:
    if sizes := counts_table(summary, LABELS):
        yield sizes
    if sources := rows_table(
        summary.get("sources") or {}, name="source", labels=SOURCE_LABELS, left=2
    ):
        yield sources
    for note in summary.get("notes") or ():
        yield Text((Strong("Note:"), f" {note}."))
