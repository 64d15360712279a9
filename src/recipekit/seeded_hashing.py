"""Random choices that depend on ids and a seed alone: the same whatever else is chosen, in which
order, by how many processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Hashes", "hash_uniforms", "id_hashes", "pair_hashes", "row_hashes"]

Hashes = npt.NDArray[np.uint64]


def id_hashes(ids: Sequence[str], seed: int) -> Hashes:
    """A seeded 64-bit hash of every id, (n,)."""
    key = seed.to_bytes(8, "little")
    hashes = (
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "little")
        for name in ids
    )
    return np.fromiter(hashes, dtype=np.uint64, count=len(ids))


def row_hashes(ids: pa.ChunkedArray, rows: npt.NDArray[np.integer[Any]], seed: int) -> Hashes:
    """The hash of each row's id, (m,); an id is hashed once, however often its row comes."""
    distinct, places = np.unique(rows, return_inverse=True)
    hashes: Hashes = id_hashes(ids.take(pa.array(distinct)).to_pylist(), seed)[places]
    return hashes


def pair_hashes(query: Hashes, passage: Hashes) -> Hashes:
    """One hash per (query, passage) from those of their ids, (n,)."""
    return _mix(query + _mix(passage))


def hash_uniforms(pairs: Hashes, stream: int) -> npt.NDArray[np.float64]:
    """A uniform number in [0, 1) per pair, (n,), from its hash; different streams are independent
    of one another.
    """
    # From the upper 53 bits, all that a float64 holds.
    return (_mix(pairs ^ np.uint64(stream)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: Hashes) -> Hashes:
    """The finalizer of splitmix64 (Steele, Lea and Flood, 2014), which spreads every bit of `x`
    over the result.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
