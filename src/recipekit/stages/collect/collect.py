"""Collect: gather queries, passages and labels from the sources, merge duplicates, split by query.

A text is the same as another if it is equal, character by character, as models see it (title and
text joined). All that is done here is done on arrays of row numbers: texts are only copied, batch
by batch, from one file to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Rows, pair_keys
from recipekit.errors import DataError
from recipekit.records import SPLITS, Label, Passage, Query
from recipekit.stages.collect.holdout import held_out_positives
from recipekit.stages.collect.read_sources import Intake, Part, is_blank, places, read_sources
from recipekit.stages.collect.section import CollectSection, Split
from recipekit.stages.inputs import StageInputs
from recipekit.tables import LABELS, PASSAGES, QUERIES, write_table

__all__ = ["collect"]

LABELS_BATCH = 2**20
DROPPED = -1


def collect(inputs: StageInputs, section: CollectSection, out: Path) -> dict[str, Any]:
    """Write `queries.arrow`, `passages.arrow` and `labels.arrow` into `out`, and return every
    count.

    - A passage that equals an earlier one is merged into it, and its labels follow; so is a query
      with the same text.
    - A query's split is its source's word; others are divided by a seeded hash of their text, so
      that a query stays where it is when data is added. No text stands in two splits: test keeps it
      before dev, dev before train, and the labels of the query that gives way go with it.
    - A pair that is labelled twice keeps the higher grade: a positive is never a negative, too.
    - Blank texts are dropped, and queries without a positive.
    - What `section.holdout_positives` hides is not written, and counted.

    Raises:
        DataError: A source is empty, an id stands for two texts, a label names an unknown id, or no
            query has a positive.
    """
    # By name, since the order in which a recipe lists its sources is no part of the stage's key.
    intake = read_sources(inputs, sorted(section.sources.items()), out / "scratch")
    passages = _merged_passages(intake)
    queries = _merged_queries(intake, section.split)
    labels = _joined_labels(intake, queries, passages)
    answered = np.zeros(len(queries.rows), dtype=np.bool_)
    answered[labels.query[labels.grade > 0]] = True
    if not answered.any():
        raise DataError(
            f"none of {np.count_nonzero(queries.kept)} queries has a positive: nothing can be learnt from them",
            code="RK309",
        )

    write_table(out / "passages.arrow", PASSAGES, _passage_batches(intake, passages.kept))
    write_table(out / "queries.arrow", QUERIES, _query_batches(intake, answered, queries.split))
    labels = labels.where(answered[labels.query])
    hidden = _hidden(inputs, section, intake, queries, labels)
    hides = _hides(section, labels, hidden)
    labels = labels.where(~hidden)
    write_table(
        out / "labels.arrow",
        LABELS,
        _label_batches(labels, _new_rows(answered), _new_rows(passages.kept)),
    )
    summary = {**_summary(intake, passages, queries, labels, answered), **hides}
    _warn(inputs, summary)
    return summary


# Merging
# -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Passages:
    """Per passage as read: the row (as read) that stands for it, `DROPPED` if it is blank, and
    whether that is itself.
    """

    rows: Rows
    kept: Bools


@dataclass(frozen=True)
class _Queries:
    """Per query as read: the row (as read) that stands for it, `DROPPED` if it is blank or gave
    way, and its split's code.

    `gave_way` marks queries whose text another split, held out more, has too.
    """

    rows: Rows
    kept: Bools
    split: npt.NDArray[np.int8]
    gave_way: Bools
    said: npt.NDArray[np.int8]
    """The split that the source said, -1 for none."""


def _first_seen(values: Any) -> Rows:
    """For each value the row of the first that equals it, (n,)."""
    first: Rows = (
        pc.index_in(values, value_set=values).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return first


def _merged_passages(intake: Intake) -> _Passages:
    for part in intake.parts:
        _first_of_id(part, Passage, intake.passages, intake.passage_digests, part.passages)
    rows = _first_seen(intake.passage_digests)
    rows[is_blank(intake.passage_digests)] = DROPPED
    return _Passages(rows, rows == np.arange(len(rows)))


def _first_of_id(
    part: Part, kind: type[Passage] | type[Query], table: pa.Table, digests: pa.Array, rows: slice
) -> Rows:
    """For each of a part's rows the first one with its id, counted from the part's first.

    Raises:
        DataError: Two of them have different texts.
    """
    own = table.slice(rows.start, rows.stop - rows.start)
    first = _first_seen(own["id"].combine_chunks())
    digests = digests.slice(rows.start, len(own))
    differs = np.flatnonzero(
        pc.not_equal(digests.take(pa.array(first)), digests).to_numpy(zero_copy_only=False)
    )
    if len(differs):
        raise _two_texts(
            part,
            kind,
            [own.slice(row, 1).to_pylist()[0] for row in (int(first[differs[0]]), int(differs[0]))],
        )
    return first


def _two_texts(
    part: Part, kind: type[Passage] | type[Query], rows: Sequence[Mapping[str, Any]]
) -> DataError:
    def stands_at(row: Mapping[str, Any]) -> str | None:
        wanted = [(name, row[name]) for name in ("id", "title", "text") if name in row]
        return next(
            places(
                part.source,
                lambda record: (
                    type(record) is kind and all(getattr(record, n) == v for n, v in wanted)
                ),
            ),
            None,
        )

    found = [place for place in map(stands_at, rows) if place]
    where = " and ".join(found) or f"source '{part.name}'"
    return DataError(
        f"{where}: the {kind.__name__.lower()} id '{rows[0]['id']}' stands for different texts",
        code="RK307",
    )


def _merged_queries(intake: Intake, shares: Split) -> _Queries:
    said = intake.queries["split"].to_numpy().astype(np.int8)
    for part in intake.parts:
        first = _first_of_id(part, Query, intake.queries, intake.query_digests, part.queries)
        # Labels name ids, so an id has one split: the one held out most of those that it was given.
        own, most = said[part.queries], said[part.queries].copy()
        np.maximum.at(most, first, own)
        said[part.queries] = most[first]
    same = _first_seen(intake.query_digests)
    winner = np.full(len(said), -1, dtype=np.int8)
    np.maximum.at(winner, same, said)  # the codes rise from train to test
    split = np.where(winner < 0, _drawn_splits(intake.draws(), shares), winner)[same].astype(
        np.int8
    )
    gave_way = (said >= 0) & (said != split)
    alive = ~gave_way & ~is_blank(intake.query_digests)
    numbers = np.arange(len(said))
    stands = np.full(len(said), len(said))
    np.minimum.at(stands, same[alive], numbers[alive])
    rows = np.where(alive, stands[same], DROPPED).astype(np.int64)
    return _Queries(rows, rows == numbers, split, gave_way, said)


def _drawn_splits(draws: npt.NDArray[np.float64], shares: Split) -> npt.NDArray[np.int8]:
    codes = np.zeros(len(draws), dtype=np.int8)
    codes[draws < shares.dev + shares.test] = SPLITS.index("dev")
    codes[draws < shares.test] = SPLITS.index("test")
    return codes


# Labels
# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Labels:
    """Labels by rows as read, sorted by (query, passage), one a pair. contradictions: pairs
    labelled both ways.
    """

    query: Rows
    passage: Rows
    grade: Floats
    merged: int
    of_dropped: int
    contradictions: int

    def where(self, mask: Bools) -> _Labels:
        """Some of them."""
        return _Labels(
            self.query[mask],
            self.passage[mask],
            self.grade[mask],
            self.merged,
            self.of_dropped,
            self.contradictions,
        )


def _joined_labels(intake: Intake, queries: _Queries, passages: _Passages) -> _Labels:
    """Labels on the texts that are kept."""
    query = np.concatenate(
        [_known_rows(intake, part, "query", queries.rows) for part in intake.parts]
    )
    passage = np.concatenate(
        [_known_rows(intake, part, "passage", passages.rows) for part in intake.parts]
    )
    grade = intake.labels["grade"].to_numpy().astype(np.float32)
    alive = (query != DROPPED) & (passage != DROPPED)
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
        of_dropped=int(np.count_nonzero(~alive)),
        contradictions=int(np.count_nonzero((grade[first] <= 0) & (grade[last] > 0))),
    )


def _known_rows(intake: Intake, part: Part, side: str, stands: Rows) -> Rows:
    """The rows that one end of a part's labels names.

    Raises:
        DataError: An id is not among the part's queries or passages.
    """
    rows, table = (
        (part.queries, intake.queries) if side == "query" else (part.passages, intake.passages)
    )
    ids = table["id"].slice(rows.start, rows.stop - rows.start).combine_chunks()
    named = intake.labels[side].slice(part.labels.start, part.labels.stop - part.labels.start)
    found = pc.index_in(named, value_set=ids)
    if found.null_count:
        unknown = pc.is_null(found).to_numpy()
        raise _unknown(part, side, named[int(np.flatnonzero(unknown)[0])].as_py(), found.null_count)
    known: Rows = stands[rows][found.to_numpy().astype(np.int64)]
    return known


def _unknown(part: Part, side: str, id: str, n: int) -> DataError:
    def names_it(record: object) -> bool:
        return isinstance(record, Label) and id == (
            record.query_id if side == "query" else record.passage_id
        )

    where = next(places(part.source, names_it), f"source '{part.name}'")
    more = f" ({n} labels name unknown ids)" if n > 1 else ""
    return DataError(f"{where}: there is no {side} with the id '{id}'{more}", code="RK308")


def _hidden(
    inputs: StageInputs, section: CollectSection, intake: Intake, queries: _Queries, labels: _Labels
) -> Bools:
    """Which labels a study takes away."""
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
# -------------------------------------------------------------------------------------------------------------


def _new_rows(kept: Bools) -> Rows:
    """Rows as written, by rows as read."""
    return np.cumsum(kept, dtype=np.int64) - 1


def _kept_batches(
    intake: Intake, table: pa.Table, side: str, kept: Bools
) -> Iterator[tuple[Part, slice, pa.RecordBatch]]:
    """The kept rows of each batch, and the range that the batch had."""
    for part in intake.parts:
        rows: slice = getattr(part, side)
        start = rows.start
        for batch in table.slice(start, rows.stop - start).to_batches():
            span = slice(start, start + batch.num_rows)
            start = span.stop
            yield part, span, batch.filter(pa.array(kept[span]))


def _written_ids(intake: Intake, part: Part, ids: pa.Array) -> pa.Array:
    """Ids as they were, with their source's name before them where there are several sources."""
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
# ------------------------------------------------------------------------------------------------------------


def _summary(
    intake: Intake, passages: _Passages, queries: _Queries, labels: _Labels, answered: Bools
) -> dict[str, Any]:
    positive = labels.grade > 0
    split_of = queries.split[labels.query]
    blank = queries.rows == DROPPED
    return {
        "sources": {part.name: _part_summary(part) for part in intake.parts},
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
            "blank_queries": int(np.count_nonzero(blank & ~queries.gave_way)),
            "train_queries_held_out_elsewhere": int(
                np.count_nonzero(queries.gave_way & (queries.said == SPLITS.index("train")))
            ),
            "dev_queries_held_out_elsewhere": int(
                np.count_nonzero(queries.gave_way & (queries.said == SPLITS.index("dev")))
            ),
            "queries_without_positive": int(np.count_nonzero(queries.kept & ~answered)),
            "labels_of_dropped_texts": labels.of_dropped,
        },
        "positives_shared_by_splits": _shared(labels.passage[positive], split_of[positive]),
    }


def _hides(section: CollectSection, labels: _Labels, hidden: Bools) -> dict[str, Any]:
    """What was hidden, and what the report says of it; nothing where the recipe hides nothing."""
    if section.holdout_positives is None:
        return {}
    positives, queries = int(np.count_nonzero(hidden)), len(np.unique(labels.query[hidden]))
    kept = "at random" if section.holdout_positives.by == "random" else "of the highest grade"
    note = (
        f"{positives} source positives of {queries} {' and '.join(section.holdout_positives.splits)} queries were hidden on purpose (`collect.holdout_positives`): "
        f"each query kept at most {section.holdout_positives.keep}, {kept}"
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
    """How many passages are positives of queries in both of two splits."""
    train, dev, test = (np.unique(passage[split == code]) for code in range(len(SPLITS)))
    pairs = {"train_dev": (train, dev), "train_test": (train, test), "dev_test": (dev, test)}
    return {name: len(np.intersect1d(*both, assume_unique=True)) for name, both in pairs.items()}


def _warn(inputs: StageInputs, summary: Mapping[str, Any]) -> None:
    dropped = summary["dropped"]
    said = {
        "queries_without_positive": "without a positive are dropped",
        "train_queries_held_out_elsewhere": "of train stand in dev or test, too, and are dropped from train",
        "dev_queries_held_out_elsewhere": "of dev stand in test, too, and are dropped from dev",
        "blank_queries": "without a text are dropped",
    }
    for name, what in said.items():
        if dropped[name]:
            inputs.progress.warn(f"{dropped[name]} queries {what}")
    if dropped["blank_passages"]:
        inputs.progress.warn(f"{dropped['blank_passages']} passages without a text are dropped")
