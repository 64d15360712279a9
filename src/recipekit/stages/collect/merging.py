"""Merging equal texts of the collected data, and giving every query one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Rows
from recipekit.errors import DataError
from recipekit.records import SPLITS, Passage, Query
from recipekit.stages.collect.read_sources import Intake, Part, is_blank, locations
from recipekit.stages.collect.section import Split

__all__ = ["DROPPED", "MergedPassages", "MergedQueries", "merged_passages", "merged_queries"]

DROPPED: Final = -1
PLURALS: Final = {Passage: "passages", Query: "queries"}


@dataclass(frozen=True)
class MergedPassages:
    """What becomes of each passage that was read, (n,)."""

    rows: Rows
    """The row, as read, that it is merged into; its own if it is kept, `DROPPED` if it is blank."""
    kept: Bools


@dataclass(frozen=True)
class MergedQueries:
    """What becomes of each query that was read, (n,)."""

    rows: Rows
    """The row, as read, that it is merged into; its own if it is kept, `DROPPED` if it is dropped.
    """
    kept: Bools
    split: npt.NDArray[np.int8]
    """The code of its split."""
    displaced: Bools
    """Whether it is dropped because a split that takes precedence has the same text."""
    source_split: npt.NDArray[np.int8]
    """The code of the split that its source gave, -1 for none."""
    moved: Bools
    """Whether its source gave train, and `split.dev` made it a dev query."""


def _first_seen(values: Any) -> Rows:
    """Return for each value the row of the first equal value, (n,)."""
    first: Rows = (
        pc.index_in(values, value_set=values).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return first


def merged_passages(intake: Intake) -> MergedPassages:
    """Merge each passage into the first with the same text, and drop blank ones.

    Raises:
        DataError: Two passages of a source have the same id and different texts.
    """
    for part in intake.parts:
        _first_of_id(part, Passage, intake.passages, intake.passage_digests, part.passages)
    rows = _first_seen(intake.passage_digests)
    rows[is_blank(intake.passage_digests)] = DROPPED
    return MergedPassages(rows, rows == np.arange(len(rows)))


def _first_of_id(
    part: Part, kind: type[Passage] | type[Query], table: pa.Table, digests: pa.Array, rows: slice
) -> Rows:
    """Return for each row of a source the first row with its id, counted from the source's first.

    Raises:
        DataError: Two rows with the same id have different texts.
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
    def location_of(row: Mapping[str, Any]) -> str | None:
        wanted = [(name, row[name]) for name in ("id", "title", "text") if name in row]
        return next(
            locations(
                part.source,
                lambda record: (
                    type(record) is kind and all(getattr(record, n) == v for n, v in wanted)
                ),
            ),
            None,
        )

    found = [location for location in map(location_of, rows) if location]
    where = " and ".join(found) or f"source '{part.name}'"
    return DataError(
        f"{where}: two {PLURALS[kind]} with the id '{rows[0]['id']}' have different texts",
        code="RK307",
    )


def merged_queries(intake: Intake, shares: Split) -> MergedQueries:
    """Merge each query into the first with the same text, and give it a split (see `collect`).

    Raises:
        DataError: Two queries of a source have the same id and different texts.
    """
    given = intake.queries["split"].to_numpy().astype(np.int8)
    uniforms = intake.uniforms()
    moved = np.zeros(len(given), dtype=np.bool_)
    for part in intake.parts:
        first = _first_of_id(part, Query, intake.queries, intake.query_digests, part.queries)
        # Labels name ids, so all rows of an id have one split: the highest code given to it.
        own, highest = given[part.queries], given[part.queries].copy()
        np.maximum.at(highest, first, own)
        given[part.queries] = highest[first]
        moved[part.queries] = _train_to_dev(highest[first], uniforms[part.queries], shares)
    given[moved] = SPLITS.index("dev")
    same = _first_seen(intake.query_digests)
    winner = np.full(len(given), -1, dtype=np.int8)
    np.maximum.at(winner, same, given)  # codes rise from train to test
    hashed = _hashed_splits(uniforms, shares)
    split = np.where(winner < 0, hashed, winner)[same].astype(np.int8)
    displaced = (given >= 0) & (given != split)
    alive = ~displaced & ~is_blank(intake.query_digests)
    numbers = np.arange(len(given))
    first_alive = np.full(len(given), len(given))
    np.minimum.at(first_alive, same[alive], numbers[alive])
    rows = np.where(alive, first_alive[same], DROPPED).astype(np.int64)
    return MergedQueries(rows, rows == numbers, split, displaced, given, moved)


def _hashed_splits(uniforms: npt.NDArray[np.float64], shares: Split) -> npt.NDArray[np.int8]:
    codes = np.zeros(len(uniforms), dtype=np.int8)
    codes[uniforms < shares.dev_share + shares.test] = SPLITS.index("dev")
    codes[uniforms < shares.test] = SPLITS.index("test")
    return codes


def _train_to_dev(
    given: npt.NDArray[np.int8], uniforms: npt.NDArray[np.float64], shares: Split
) -> Bools:
    """Return which queries of a source move from train to dev."""
    if shares.dev is None or np.any(given == SPLITS.index("dev")):
        return np.zeros(len(given), dtype=np.bool_)
    moved: Bools = (given == SPLITS.index("train")) & (uniforms < shares.dev)
    return moved
