"""The collect stage: read the sources, merge duplicates, and split by query.

Two texts are duplicates if they are equal, character by character, as models see them (title and
text joined). Merging works on arrays of row numbers: texts are only copied, batch by batch, from
one file to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Rows, pair_keys
from recipekit.errors import DataError
from recipekit.records import SPLITS
from recipekit.report.numbers import plural
from recipekit.stages.collect.holdout import held_out_positives
from recipekit.stages.collect.ids import (
    UNKNOWN,
    check_unknown_ids,
    merged_rows,
    warn_about_ids,
)
from recipekit.stages.collect.merging import (
    DROPPED,
    MergedPassages,
    MergedQueries,
    merged_passages,
    merged_queries,
)
from recipekit.stages.collect.read_sources import Intake, Part, read_sources
from recipekit.stages.collect.section import CollectSection
from recipekit.stages.inputs import StageInputs
from recipekit.tables import LABELS, PASSAGES, QUERIES, write_table

__all__ = ["collect"]

LABELS_BATCH = 2**20


def collect(inputs: StageInputs, section: CollectSection, out: Path) -> dict[str, Any]:
    """Write `queries.arrow`, `passages.arrow` and `labels.arrow` into `out`, and return the counts.

    - Characters that no tokenizer accepts are replaced (`clean_text`).
    - A passage that equals an earlier one is merged into it, with its labels; so is a query.
    - A query has the split of its source. Other queries are split by a seeded hash of their text,
      so that they keep their split when data is added. If `section.split.dev` is set, train queries
      of a source without dev queries are divided in the same way. No text is in two splits: test
      takes precedence over dev, and dev over train. The labels of a query that is dropped for this
      are dropped, too.
    - Labels with unknown ids are left out and counted, up to `section.max_unknown_ids`.
    - A pair that is labelled twice keeps the higher grade.
    - Blank texts and queries without a positive are dropped.
    - Labels that `section.holdout_positives` selects are counted, but not written.

    Raises:
        DataError: A source is empty, two texts have the same id, too many labels have unknown ids,
            or no query has a positive.
    """
    # Sorted by name: the order in which a recipe lists its sources is not part of the key.
    intake = read_sources(inputs, sorted(section.sources.items()), out / "scratch")
    passages = merged_passages(intake)
    queries = merged_queries(intake, section.split)
    labels = _joined_labels(inputs, section, intake, queries, passages)
    answered = np.zeros(len(queries.rows), dtype=np.bool_)
    answered[labels.query[labels.grade > 0]] = True
    if not answered.any():
        raise DataError(
            f"none of {np.count_nonzero(queries.kept)} queries has a positive, so there is nothing "
            "to learn from",
            code="RK309",
        )

    write_table(out / "passages.arrow", PASSAGES, _passage_batches(intake, passages.kept))
    write_table(out / "queries.arrow", QUERIES, _query_batches(intake, answered, queries.split))
    labels = labels.where(answered[labels.query])
    held_out = _held_out(inputs, section, intake, queries, labels)
    held_out_summary = _held_out_summary(section, labels, held_out)
    labels = labels.where(~held_out)
    write_table(
        out / "labels.arrow",
        LABELS,
        _label_batches(labels, _new_rows(answered), _new_rows(passages.kept)),
    )
    summary = {**_summary(intake, passages, queries, labels, answered), **held_out_summary}
    _warn(inputs, summary)
    warn_about_ids(inputs.progress, intake)
    return summary


# Labels
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Labels:
    """Labels by rows as read, sorted by (query, passage), one per pair."""

    query: Rows
    passage: Rows
    grade: Floats
    merged: int
    """Labels that were merged into another label of the same pair."""
    of_dropped: int
    """Labels of texts that were dropped."""
    contradictions: int
    """Pairs that were labelled both positive and negative."""
    unknown: int
    """Labels with an id that does not exist."""

    def where(self, mask: Bools) -> _Labels:
        """Return some of the labels."""
        return _Labels(
            self.query[mask],
            self.passage[mask],
            self.grade[mask],
            self.merged,
            self.of_dropped,
            self.contradictions,
            self.unknown,
        )


def _joined_labels(
    inputs: StageInputs,
    section: CollectSection,
    intake: Intake,
    queries: MergedQueries,
    passages: MergedPassages,
) -> _Labels:
    """Return the labels of the texts that are kept."""
    query, passage = (
        np.concatenate([merged_rows(intake, part, side, rows) for part in intake.parts])
        for side, rows in (("query", queries.rows), ("passage", passages.rows))
    )
    unknown = (query == UNKNOWN) | (passage == UNKNOWN)
    for part in intake.parts:
        check_unknown_ids(
            inputs.progress, intake, part, unknown[part.labels], section.max_unknown_ids
        )
    grade = intake.labels["grade"].to_numpy().astype(np.float32)
    alive = (query >= 0) & (passage >= 0)
    query, passage, grade = query[alive], passage[alive], grade[alive]
    keys = pair_keys(query, passage, len(passages.rows))
    order = np.lexsort((grade, keys))
    keys, grade = keys[order], grade[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    last = np.append(first[1:], len(keys)) - 1 if len(keys) else first
    query, passage = (
        (keys[last] // len(passages.rows), keys[last] % len(passages.rows))
        if len(keys)
        else (query, passage)
    )
    return _Labels(
        query,
        passage,
        grade[last],
        merged=len(keys) - len(last),
        of_dropped=int(np.count_nonzero(~alive & ~unknown)),
        contradictions=int(np.count_nonzero((grade[first] <= 0) & (grade[last] > 0))),
        unknown=int(np.count_nonzero(unknown)),
    )


def _held_out(
    inputs: StageInputs,
    section: CollectSection,
    intake: Intake,
    queries: MergedQueries,
    labels: _Labels,
) -> Bools:
    """Return which labels to hold out."""
    if section.holdout_positives is None:
        return np.zeros(len(labels.query), dtype=np.bool_)
    return held_out_positives(
        section.holdout_positives,
        inputs.seed,
        query=labels.query,
        passage=labels.passage,
        grade=labels.grade,
        split=queries.split[labels.query],
        query_ids=intake.queries["id"],
        passage_ids=intake.passages["id"],
    )


# Writing
# --------------------------------------------------------------------------------------------------


def _new_rows(kept: Bools) -> Rows:
    """Return the rows as written, by rows as read."""
    return np.cumsum(kept, dtype=np.int64) - 1


def _kept_batches(
    intake: Intake, table: pa.Table, side: str, kept: Bools
) -> Iterator[tuple[Part, slice, pa.RecordBatch]]:
    """Yield the kept rows of each batch, with the rows of the whole batch."""
    for part in intake.parts:
        rows: slice = getattr(part, side)
        start = rows.start
        for batch in table.slice(start, rows.stop - start).to_batches():
            span = slice(start, start + batch.num_rows)
            start = span.stop
            yield part, span, batch.filter(pa.array(kept[span]))


def _written_ids(intake: Intake, part: Part, ids: pa.Array) -> pa.Array:
    """Return ids, prefixed with their source's name where there are several sources."""
    if len(intake.parts) == 1:
        return ids
    name, slash = (pa.scalar(text, pa.large_string()) for text in (part.name, "/"))
    return pc.binary_join_element_wise(name, ids, slash)


def _passage_batches(intake: Intake, kept: Bools) -> Iterator[pa.RecordBatch]:
    for part, _, batch in _kept_batches(intake, intake.passages, "passages", kept):
        source = pa.repeat(pa.scalar(part.name, pa.large_string()), batch.num_rows)
        columns = [_written_ids(intake, part, batch["id"]), batch["title"], batch["text"], source]
        yield pa.record_batch(columns, schema=PASSAGES)


def _query_batches(
    intake: Intake, kept: Bools, split: npt.NDArray[np.int8]
) -> Iterator[pa.RecordBatch]:
    for part, span, batch in _kept_batches(intake, intake.queries, "queries", kept):
        source = pa.repeat(pa.scalar(part.name, pa.large_string()), batch.num_rows)
        columns = [
            _written_ids(intake, part, batch["id"]),
            batch["text"],
            pa.array(split[span][kept[span]]),
            source,
        ]
        yield pa.record_batch(columns, schema=QUERIES)


def _label_batches(
    labels: _Labels, query_rows: Rows, passage_rows: Rows
) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(labels.query), LABELS_BATCH):
        span = slice(start, start + LABELS_BATCH)
        ends = (
            query_rows[labels.query[span]].astype(np.int32),
            passage_rows[labels.passage[span]].astype(np.int32),
        )
        yield pa.record_batch([*map(pa.array, ends), pa.array(labels.grade[span])], schema=LABELS)


# Counting
# --------------------------------------------------------------------------------------------------


def _summary(
    intake: Intake,
    passages: MergedPassages,
    queries: MergedQueries,
    labels: _Labels,
    answered: Bools,
) -> dict[str, Any]:
    positive = labels.grade > 0
    split_of = queries.split[labels.query]
    blank = queries.rows == DROPPED
    return {
        "sources": {part.name: _part_summary(part) for part in intake.parts},
        "cleaned_records": intake.cleaned,
        "passages": int(np.count_nonzero(passages.kept)),
        "queries": {
            split: int(np.count_nonzero(answered & (queries.split == code)))
            for code, split in enumerate(SPLITS)
        },
        "labels": {
            "positive": int(np.count_nonzero(positive)),
            "negative": int(np.count_nonzero(~positive)),
        },
        "merged": {
            "passages": int(np.count_nonzero((passages.rows != DROPPED) & ~passages.kept)),
            "queries": int(np.count_nonzero((queries.rows != DROPPED) & ~queries.kept)),
            "labels": labels.merged,
            "labels_both_positive_and_negative": labels.contradictions,
        },
        "dropped": {
            "blank_passages": int(np.count_nonzero(passages.rows == DROPPED)),
            "blank_queries": int(np.count_nonzero(blank & ~queries.displaced)),
            "train_queries_held_out_elsewhere": int(
                np.count_nonzero(
                    queries.displaced & (queries.source_split == SPLITS.index("train"))
                )
            ),
            "dev_queries_held_out_elsewhere": int(
                np.count_nonzero(queries.displaced & (queries.source_split == SPLITS.index("dev")))
            ),
            "queries_without_positive": int(np.count_nonzero(queries.kept & ~answered)),
            "labels_of_dropped_texts": labels.of_dropped,
            "labels_with_unknown_ids": labels.unknown,
        },
        "dev_queries_taken_from_train": int(
            np.count_nonzero(answered & queries.moved & queries.kept)
        ),
        "positives_shared_by_splits": _shared(labels.passage[positive], split_of[positive]),
    }


def _held_out_summary(section: CollectSection, labels: _Labels, held_out: Bools) -> dict[str, Any]:
    """Return what was held out, and a note for the report; empty where nothing is."""
    policy = section.holdout_positives
    if policy is None:
        return {}
    positives, queries = int(np.count_nonzero(held_out)), len(np.unique(labels.query[held_out]))
    kept = "at random" if policy.by == "random" else "of the highest grade"
    note = (
        f"{positives} source positives of {queries} {' and '.join(policy.splits)} queries were "
        f"held out on purpose (`collect.holdout_positives`): each query kept at most "
        f"{policy.keep}, {kept}"
    )
    return {"hidden": {"positives": positives, "queries": queries}, "notes": [note]}


def _part_summary(part: Part) -> dict[str, Any]:
    read = {
        name: rows.stop - rows.start
        for name in ("passages", "queries", "labels")
        for rows in (getattr(part, name),)
    }
    return {"use": part.use, **read, **part.source.counts}


def _shared(passage: Rows, split: npt.NDArray[np.int8]) -> dict[str, int]:
    """Count the passages that are positives of queries in two splits, for each two splits."""
    train, dev, test = (np.unique(passage[split == code]) for code in range(len(SPLITS)))
    pairs = {"train_dev": (train, dev), "train_test": (train, test), "dev_test": (dev, test)}
    return {name: len(np.intersect1d(*both, assume_unique=True)) for name, both in pairs.items()}


def _warn(inputs: StageInputs, summary: Mapping[str, Any]) -> None:
    dropped = summary["dropped"]
    messages = {
        "queries_without_positive": ("query", "queries", "without a positive"),
        "train_queries_held_out_elsewhere": (
            "train query", "train queries", "with the text of a dev or test query"
        ),
        "dev_queries_held_out_elsewhere": (
            "dev query", "dev queries", "with the text of a test query"
        ),
        "blank_queries": ("query", "queries", "without a text"),
        "blank_passages": ("passage", "passages", "without a text"),
    }  # fmt: skip
    for name, (one, many, which) in messages.items():
        if dropped[name]:
            inputs.progress.warn(f"dropped {plural(dropped[name], one, many)} {which}")
    if cleaned := summary["cleaned_records"]:
        inputs.progress.warn(
            f"NUL or unpaired surrogate characters replaced in {plural(cleaned, 'record')}"
        )
