"""Holding out source positives, to study whether judging finds them again."""

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
"""Makes these random numbers independent of others with the same ids and seed."""


def held_out_positives(
    policy: HoldoutPositives,
    seed: int,
    *,
    query: Rows,
    passage: Rows,
    grade: Floats,
    split: npt.NDArray[np.int8],
    query_ids: pa.ChunkedArray,
    passage_ids: pa.ChunkedArray,
) -> Bools:
    """Return which labels to hold out.

    A query of `policy.splits` keeps `policy.keep` positives: those with the lowest random numbers,
    or those with the highest grade, ties by random numbers. A pair's number is a seeded hash of its
    ids, so that the choice does not depend on the order of the data or on what else is in it.

    Args:
        policy: How many positives a query keeps, and which.
        seed: The recipe's seed.
        query: The query's row of each label, (n,).
        passage: The passage's row of each label, (n,).
        grade: The grade of each label, (n,); above 0 is a positive.
        split: The code of the query's split of each label, (n,).
        query_ids: The ids of all queries, by row.
        passage_ids: The ids of all passages, by row.

    Returns:
        bool (n,).
    """
    chosen = np.flatnonzero(
        (grade > 0) & np.isin(split, [SPLITS.index(name) for name in policy.splits])
    )
    query = query[chosen]
    uniforms = hash_uniforms(
        pair_hashes(
            row_hashes(query_ids, query, seed), row_hashes(passage_ids, passage[chosen], seed)
        ),
        STREAM,
    )
    keys: list[npt.NDArray[Any]] = (
        [uniforms, -grade[chosen], query] if policy.by == "grade" else [uniforms, query]
    )
    order = np.lexsort(keys)  # the last key is the first to sort by
    position = positions_in_groups(query[order])
    held_out = np.zeros(len(grade), dtype=np.bool_)
    held_out[chosen[order[position >= policy.keep]]] = True
    return held_out
