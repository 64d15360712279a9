"""Hiding source positives, as if nobody had labelled them, to study what judging gets back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Bools, Floats, Rows, positions_in_groups
from recipekit.records import SPLITS
from recipekit.seeded_hashing import hash_uniforms, pair_hashes, row_hashes
from recipekit.stages.collect.section import HoldoutPositives

__all__ = ["held_out_positives"]

STREAM = 0x68696465
"""Keeps these draws apart from those that others make of the same ids and seed."""


def held_out_positives(
    hide: HoldoutPositives,
    seed: int,
    *,
    query: Rows,
    passage: Rows,
    grade: Floats,
    split: npt.NDArray[np.int8],
    query_ids: pa.ChunkedArray,
    passage_ids: pa.ChunkedArray,
) -> Bools:
    """Which labels to hide.

    A query of `hide.splits` keeps `hide.keep` positives: those with the lowest draws, or those of
    the highest grade with the lowest draws among equals. A draw is a uniform number made of the
    pair's ids and the seed, so that which positives stay does not depend on the order of the data,
    nor on what else is in it.

    Args:
        hide: How many stay, and which.
        seed: The recipe's.
        query: The query's row of each label, (n,); so are `passage`, `grade`, and `split`, the code
            of the query's split.
        passage: See `query`.
        grade: See `query`; above 0 is a positive.
        split: See `query`.
        query_ids: The ids of all queries, by row.
        passage_ids: The ids of all passages, by row.

    Returns:
        bool (n,).
    """
    chosen = np.flatnonzero(
        (grade > 0) & np.isin(split, [SPLITS.index(name) for name in hide.splits])
    )
    query = query[chosen]
    draws = hash_uniforms(
        pair_hashes(
            row_hashes(query_ids, query, seed), row_hashes(passage_ids, passage[chosen], seed)
        ),
        STREAM,
    )
    keys: list[npt.NDArray[Any]] = (
        [draws, -grade[chosen], query] if hide.by == "grade" else [draws, query]
    )
    order = np.lexsort(keys)  # the last key is the first to sort by
    place = positions_in_groups(query[order])
    hidden = np.zeros(len(grade), dtype=np.bool_)
    hidden[chosen[order[place >= hide.keep]]] = True
    return hidden
