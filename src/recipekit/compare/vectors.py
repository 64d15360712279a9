"""Vectors with fewer dimensions or fewer bytes, as float32 matrices that are scored like them."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats
from recipekit.records import Similarity

__all__ = ["VectorType", "as_stored", "bytes_per_vector", "cut"]

VectorType = Literal["float32", "int8", "binary"]
"""How an index stores a vector's numbers."""
BITS: Final[dict[VectorType, int]] = {"float32": 32, "int8": 8, "binary": 1}


def bytes_per_vector(dimensions: int, vectors: VectorType) -> int:
    """Return the bytes of one vector in an index; bits are packed into whole bytes."""
    return -(-dimensions * BITS[vectors] // 8)


def cut(matrix: npt.NDArray[Any], dimensions: int | None, similarity: Similarity) -> Floats:
    """Keep the first dimensions, float32 (n, dimensions); rows of `cosine` get length 1 again.

    This is how Matryoshka embeddings are shortened (Kusupati et al. 2022, "Matryoshka
    Representation Learning"), and what `truncate_dim` does in sentence-transformers.
    """
    kept = np.asarray(matrix[:, :dimensions], dtype=np.float32)
    if dimensions is None or similarity != "cosine":
        return kept
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.asarray(kept / np.maximum(lengths, np.finfo(np.float32).tiny))


def as_stored(matrix: Floats, vectors: VectorType) -> Floats:
    """Return the numbers that an index of these vectors computes with, float32 (n, dim).

    sentence-transformers quantizes them. `int8` divides the range of each dimension into 256 equal
    steps, and a number becomes the middle of its step; the ranges are those of the matrix. `binary`
    keeps signs, and a score is that of a float query with +1 and -1, as in its rescoring.
    """
    if vectors == "float32" or len(matrix) == 0:
        return matrix
    from sentence_transformers.util.quantization import quantize_embeddings

    if vectors == "binary":
        packed = quantize_embeddings(matrix, precision="ubinary")
        bits = np.unpackbits(packed, axis=1, count=matrix.shape[1])
        return bits.astype(np.float32) * 2 - 1
    ranges = np.stack([matrix.min(axis=0), matrix.max(axis=0)])
    steps = (ranges[1] - ranges[0]) / 255
    steps = np.where(steps == 0, 1, steps)  # as quantize_embeddings does
    codes = quantize_embeddings(matrix, precision="uint8", ranges=ranges)
    middles = codes.astype(np.float32) + np.where(codes == 255, 0, 0.5).astype(np.float32)
    return np.asarray(ranges[0] + middles * steps, dtype=np.float32)
