"""Ids that do not exist, and ids that some exported files cannot hold."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Rows
from recipekit.component import Progress
from recipekit.errors import DataError
from recipekit.records import Label, Passage, Query
from recipekit.stages.collect.read_sources import Intake, Part, locations

__all__ = ["UNKNOWN", "check_unknown_ids", "merged_rows", "warn_about_ids"]

UNKNOWN: Final = -2
"""The row of an id that does not exist."""
UNUSABLE_IDS: Final = {
    "[\t\r\n]": "a tab or a line break, which the exporter `dataset` cannot write to qrels",
    " ": "a space, which files in TREC format cannot hold",
}
"""Characters in ids, and what they prevent."""


def merged_rows(intake: Intake, part: Part, side: str, merged_into: Rows) -> Rows:
    """Return the rows of the queries or passages that a source's labels name.

    Args:
        intake: What was read.
        part: The source.
        side: `query` or `passage`.
        merged_into: For each row as read, the row that it is merged into.

    Returns:
        The rows, (n labels,): `UNKNOWN` where the source has no text with the id.
    """
    rows, table = (
        (part.queries, intake.queries) if side == "query" else (part.passages, intake.passages)
    )
    ids = table["id"].slice(rows.start, rows.stop - rows.start).combine_chunks()
    found = pc.index_in(_named_ids(intake, part, side), value_set=ids)
    known = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    merged: Rows = np.where(known >= 0, merged_into[rows][known], UNKNOWN)
    return merged


def check_unknown_ids(
    progress: Progress, intake: Intake, part: Part, unknown: Bools, max_share: float
) -> None:
    """Warn about labels of a source with unknown ids, (n labels,).

    Raises:
        DataError: Their share is larger than `max_share`.
    """
    n_unknown = int(np.count_nonzero(unknown))
    if not n_unknown:
        return
    first = int(np.argmax(unknown))
    pair = {side: _named_ids(intake, part, side)[first].as_py() for side in ("query", "passage")}
    side = _missing_side(intake, part, pair)

    def names_it(record: object) -> bool:
        return isinstance(record, Label) and pair[side] == (
            record.query_id if side == "query" else record.passage_id
        )

    where = next(locations(part.source, names_it), f"source '{part.name}'")
    message = (
        f"{where}: there is no {side} with the id '{pair[side]}'; {n_unknown} of {len(unknown)} "
        "labels have unknown ids"
    )
    if n_unknown > max_share * len(unknown):
        raise DataError(
            f"{message}, more than `collect.max_unknown_ids` ({max_share:g}) allows", code="RK308"
        )
    progress.warn(f"{message} and are left out")


def _missing_side(intake: Intake, part: Part, pair: dict[str, str]) -> str:
    rows = part.queries
    ids = intake.queries["id"].slice(rows.start, rows.stop - rows.start)
    known = pc.any(pc.equal(ids, pa.scalar(pair["query"], ids.type))).as_py()
    return "passage" if known else "query"


def _named_ids(intake: Intake, part: Part, side: str) -> pa.Array:
    return intake.labels[side].slice(part.labels.start, part.labels.stop - part.labels.start)


def warn_about_ids(progress: Progress, intake: Intake) -> None:
    """Warn about ids that some exported files cannot hold, long before they are exported."""
    for kind, table in ((Passage, intake.passages), (Query, intake.queries)):
        for pattern, consequence in UNUSABLE_IDS.items():
            found = pc.match_substring_regex(table["id"], pattern)
            count = pc.sum(found).as_py() or 0
            if count:
                row = pc.index(found, True).as_py()
                id = table["id"][row].as_py()
                where = _where(intake, kind, id, row)
                name = kind.__name__.lower()
                ids = f"{count} {name} ids contain" if count > 1 else f"1 {name} id contains"
                progress.warn(f"{ids} {consequence}. The first is {id!r} ({where})")


def _where(intake: Intake, kind: type[Passage] | type[Query], id: str, row: int) -> str:
    side = "passages" if kind is Passage else "queries"
    part = next(part for part in intake.parts if row < getattr(part, side).stop)

    def has_the_id(record: object) -> bool:
        return isinstance(record, kind) and record.id == id

    return next(locations(part.source, has_the_id), f"source '{part.name}'")
