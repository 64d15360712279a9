"""Array types, and operations on arrays of row numbers that several stages share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bools",
    "Floats",
    "Ints",
    "Rows",
    "lookup_sorted",
    "pair_keys",
    "positions_in_groups",
]

Rows = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def pair_keys(
    query: npt.NDArray[Any], passage: npt.NDArray[Any], n_passages: int
) -> npt.NDArray[np.int64]:
    """Return one int64 per (query, passage): `query * n_passages + passage`.

    Keys sort like the pairs and work with numpy's set operations.
    """
    keys: npt.NDArray[np.int64] = query.astype(np.int64) * n_passages + passage
    return keys


def lookup_sorted(ascending: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> tuple[Rows, Bools]:
    """Look up values in a sorted array.

    Returns:
        The position of each wanted value, and whether the array contains it. A position is
        meaningless where it does not.
    """
    if not len(ascending):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    positions = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return positions, ascending[positions] == wanted


def positions_in_groups(ascending: npt.NDArray[Any]) -> Rows:
    """Number the entries within each run of equal values, from 0.

    For the query column of a candidate table this is each candidate's rank minus one. Values
    must not be negative.
    """
    starts = np.flatnonzero(np.diff(ascending, prepend=-1))
    return np.arange(len(ascending)) - np.repeat(starts, np.diff(starts, append=len(ascending)))
