"""Compressed vectors: truncated, projected by PCA, with 8 bits or 1 bit per dimension.

int8 and binary are sentence-transformers' `quantize_embeddings`, PCA is scikit-learn's. A
`Compressor` is fitted to the passages' vectors, so that queries and later passages are compressed
alike. Queries are never quantized: a query is compared with what the bits of a passage stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats
from recipekit.encoding.compression_keys import CompressionKeys, bytes_per_vector
from recipekit.errors import RunError
from recipekit.records import Similarity

__all__ = ["CompressedVectors", "Compressor", "fit_compressor"]

Vectors = npt.NDArray[Any]

PCA_SAMPLE = 65_536
"""The most passages that principal components are computed from, evenly spaced: 256 MB at 1,024
dimensions."""
ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Compressor:
    """Compresses vectors of one encoder; `fit_compressor` makes it."""

    keys: CompressionKeys
    similarity: Similarity
    """How the vectors are compared. Those of `cosine` have length 1, also with fewer dimensions."""
    full_dimension: int
    """The dimension of the uncompressed vectors."""
    components: Floats | None = None
    """The principal components as rows, (dimension, full_dimension); None without PCA.

    The vectors are projected and not centred, as a Dense layer without a bias does: inner products
    with the mean are part of the similarity. Centring lost 0.03 nDCG@10 on nfcorpus."""
    ranges: Floats | None = None
    """For int8: the lowest and the highest value of each dimension, (2, dimension)."""

    @property
    def dimension(self) -> int:
        """The dimension of compressed vectors."""
        return self.keys.pca or self.keys.dimensions or self.full_dimension

    @property
    def bytes_per_vector(self) -> int:
        """The bytes of one compressed vector."""
        return bytes_per_vector(self.dimension, self.keys.precision)

    def reduce(self, vectors: Vectors) -> Floats:
        """Reduce the dimensions: (n, full_dimension) to float32 (n, dimension).

        It is all that happens to a query.
        """
        reduced = np.asarray(vectors, dtype=np.float32)
        if self.components is not None:
            reduced = reduced @ self.components.T
        elif self.dimension < self.full_dimension:
            reduced = reduced[:, : self.dimension]
        else:
            return reduced
        if self.similarity != "cosine":
            return reduced
        lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
        return np.asarray(reduced / np.maximum(lengths, np.finfo(np.float32).tiny))

    def compress(self, vectors: Vectors) -> Vectors:
        """Compress passages: (n, full_dimension) to rows of `bytes_per_vector` bytes.

        float32 or int8 (n, dimension), or for `binary` uint8 (n, ceil(dimension / 8)), with a bit
        per dimension that is 1 for a positive number, the first dimension in the highest bit.
        """
        from sentence_transformers.util.quantization import quantize_embeddings

        reduced = self.reduce(vectors)
        if self.keys.precision == "fp32":
            return reduced
        precision = "ubinary" if self.keys.precision == "binary" else "int8"
        stored: Vectors = quantize_embeddings(reduced, precision, ranges=self.ranges)
        return stored

    def expand(self, stored: Vectors) -> Floats:
        """Return what compressed vectors stand for, float32 (..., dimension).

        An int8 number is the middle of its step. A bit is 1 or -1.
        """
        if self.keys.precision == "binary":
            bits = np.unpackbits(stored, axis=-1, count=self.dimension)
            return bits.astype(np.float32) * 2 - 1
        if self.ranges is None:
            return stored
        low, high = self.ranges
        middle = stored.astype(np.float32) + np.float32(128.5)
        return np.asarray(low + middle * ((high - low) / 255))


@dataclass(frozen=True)
class CompressedVectors:
    """A corpus of compressed vectors, which are expanded when they are read.

    `vectors[rows]` is float32 (len(rows), dimension) for a slice or an array of rows, so searches
    read it as they read a matrix.
    """

    compressor: Compressor
    stored: Vectors

    @classmethod
    def of(cls, compressor: Compressor, matrix: Vectors) -> CompressedVectors:
        """Compress a matrix, (n, full_dimension), in blocks."""
        parts = [compressor.compress(block) for block in _blocks(matrix)]
        return cls(compressor, np.concatenate(parts))

    @property
    def shape(self) -> tuple[int, int]:
        """Vectors and their dimension."""
        return len(self.stored), self.compressor.dimension

    @property
    def nbytes(self) -> int:
        """The bytes of all vectors."""
        return int(self.stored.nbytes)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: Any) -> Floats:
        return self.compressor.expand(self.stored[rows])


def fit_compressor(keys: CompressionKeys, matrix: Vectors, similarity: Similarity) -> Compressor:
    """Fit principal components and ranges, where the keys need them, to the passages' vectors.

    Args:
        keys: How to compress.
        matrix: The passages' vectors, float32 or float16 (n, dim); it may be a memory map.
        similarity: How the vectors are compared.

    Raises:
        RunError: There are fewer dimensions, or for PCA fewer passages, than are to be kept.
    """
    passages, dimension = matrix.shape
    kept = keys.pca or keys.dimensions or dimension
    if kept > dimension:
        key = "pca" if keys.pca else "dimensions"
        raise RunError(
            f"compression {key}: {kept} is more than the {dimension} dimensions of the vectors",
            code="RK648",
        )
    if keys.pca and keys.pca > passages:
        raise RunError(
            f"compression pca: {keys.pca} components need at least as many passages, and there are "
            f"{passages}",
            code="RK648",
        )
    components = _components(matrix, keys.pca) if keys.pca else None
    fitted = Compressor(keys, similarity, dimension, components)
    if keys.precision != "int8":
        return fitted
    return Compressor(keys, similarity, dimension, components, _ranges(fitted, matrix))


def _components(matrix: Vectors, count: int) -> Floats:
    from sklearn.decomposition import PCA

    step = -(-len(matrix) // PCA_SAMPLE)
    sample = np.asarray(matrix[::step], dtype=np.float32)
    pca = PCA(count, svd_solver="covariance_eigh").fit(sample)
    return np.asarray(pca.components_, dtype=np.float32)


def _ranges(reducer: Compressor, matrix: Vectors) -> Floats:
    """Return the lowest and the highest value of each dimension after its reduction."""
    low = np.full(reducer.dimension, np.inf, np.float32)
    high = np.full(reducer.dimension, -np.inf, np.float32)
    for block in _blocks(matrix):
        reduced = reducer.reduce(block)
        low = np.minimum(low, reduced.min(axis=0))
        high = np.maximum(high, reduced.max(axis=0))
    return np.stack([low, high])


def _blocks(matrix: Vectors) -> Iterator[Vectors]:
    for start in range(0, max(len(matrix), 1), ROWS_AT_ONCE):
        yield matrix[start : start + ROWS_AT_ONCE]
