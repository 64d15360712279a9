"""Random choices that depend only on ids and a seed, not on order or the number of processes."""

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
    """Return a seeded 64-bit hash of every id, (n,)."""
    key = seed.to_bytes(8, "little")
    hashes = (
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "little")
        for name in ids
    )
    return np.fromiter(hashes, dtype=np.uint64, count=len(ids))


def row_hashes(ids: pa.ChunkedArray, rows: npt.NDArray[np.integer[Any]], seed: int) -> Hashes:
    """Return the hash of each row's id, (m,); every distinct id is hashed once."""
    distinct, places = np.unique(rows, return_inverse=True)
    hashes: Hashes = id_hashes(ids.take(pa.array(distinct)).to_pylist(), seed)[places]
    return hashes


def pair_hashes(query: Hashes, passage: Hashes) -> Hashes:
    """Combine the hashes of queries and passages to one per pair, (n,)."""
    return _mix(query + _mix(passage))


def hash_uniforms(pairs: Hashes, stream: int) -> npt.NDArray[np.float64]:
    """Return a uniform number in [0, 1) per pair, (n,); streams are independent of one another."""
    # The upper 53 bits are all that a float64 holds.
    return (_mix(pairs ^ np.uint64(stream)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: Hashes) -> Hashes:
    """Apply the finalizer of splitmix64 (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
