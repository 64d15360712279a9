"""Qdrant in this process (qdrant-edge-py): the server's own engine over files in our cache, with
nothing to start.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import qdrant_edge as edge

from recipekit.component import Progress
from recipekit.errors import ComponentError
from recipekit.retrievers.qdrant_load import INDEX_FROM_KB
from recipekit.retrievers.qdrant_search import Found
from recipekit.retrievers.qdrant_settings import CollectionSettings, Hnsw, Quantization

__all__ = ["EmbeddedPoints", "open_shard", "write_shard"]

BATCH: Final = 1000
"""Points handed over at once."""
SHARD: Final = "shard"


def write_shard(
    folder: Path, matrix: npt.NDArray[Any], settings: CollectionSettings, progress: Progress
) -> None:
    """Write `folder/shard`: a point for every row of the matrix, indexed."""
    shutil.rmtree(folder / SHARD, ignore_errors=True)  # an attempt that was killed
    (folder / SHARD).mkdir()
    shard = edge.EdgeShard.create(str(folder / SHARD), _config(settings))
    with progress.track("qdrant load", total=len(matrix), unit="passages") as tracker:
        for start in range(0, len(matrix), BATCH):
            vectors = np.asarray(matrix[start : start + BATCH], np.float32).tolist()
            shard.update(
                edge.UpdateOperation.upsert_points(
                    [edge.Point(id=row, vector=vector) for row, vector in enumerate(vectors, start)]
                )
            )
            tracker.advance(len(vectors))
    shard.flush()
    with progress.track("qdrant index", unit="steps") as tracker:
        while shard.optimize():
            tracker.advance()
    shard.flush()
    found = shard.count(edge.CountRequest(exact=True))
    shard.close()
    if found != len(matrix):
        raise ComponentError(
            f"embedded Qdrant holds {found} points where {len(matrix)} were loaded", code="RK269"
        )


def open_shard(folder: Path, hnsw: Hnsw, quantization: Quantization | None) -> EmbeddedPoints:
    """Open what `write_shard` wrote."""
    return EmbeddedPoints(edge.EdgeShard.load(str(folder / SHARD)), str(folder), hnsw, quantization)


@dataclass(frozen=True)
class EmbeddedPoints:
    """A shard in this process."""

    shard: Any
    folder: str
    hnsw: Hnsw
    quantization: Quantization | None

    @property
    def place(self) -> str:
        """Where its files are."""
        return f"embedded Qdrant in {self.folder}"

    def nearest(self, vectors: npt.NDArray[np.float32], limit: int, *, exact: bool) -> Found:
        """The points nearest to each vector (n, dim)."""
        params = self._params(limit, exact=exact)
        requests = [
            edge.QueryRequest(limit=limit, query=edge.Query.Nearest(vector), params=params)
            for vector in vectors.tolist()
        ]
        answers = self.shard.query_batch(edge.QueryBatchRequest(requests))
        sizes = [len(answer) for answer in answers]
        ids = [point.id for answer in answers for point in answer]
        scores = np.fromiter(
            (point.score for answer in answers for point in answer), np.float32, sum(sizes)
        )
        return Found(np.repeat(np.arange(len(answers)), sizes), ids, scores)

    def _params(self, limit: int, *, exact: bool) -> edge.SearchParams:
        if exact:
            return edge.SearchParams(
                exact=True, quantization=edge.QuantizationSearchParams(ignore=True)
            )
        wanted = self.quantization
        quantized = (
            edge.QuantizationSearchParams(rescore=wanted.rescore, oversampling=wanted.oversampling)
            if wanted
            else None
        )
        return edge.SearchParams(hnsw_ef=max(self.hnsw.ef, limit), quantization=quantized)


def _config(settings: CollectionSettings) -> edge.EdgeConfig:
    hnsw = edge.HnswIndexConfig(
        m=0 if settings.exact else settings.hnsw.m,
        ef_construct=settings.hnsw.ef_construct,
        full_scan_threshold=INDEX_FROM_KB,
    )
    vectors = edge.EdgeVectorParams(
        size=settings.dimension,
        distance=edge.Distance.Dot if settings.distance == "dot" else edge.Distance.Cosine,
        on_disk=settings.on_disk,
        datatype=edge.VectorStorageDatatype.Float16
        if settings.half
        else edge.VectorStorageDatatype.Float32,
    )
    return edge.EdgeConfig(
        vectors=vectors,
        hnsw_config=hnsw,
        quantization_config=_quantization(settings.quantization),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INDEX_FROM_KB),
        wal_enabled=False,  # what is not finished is begun anew
    )


def _quantization(wanted: Quantization | None) -> Any:
    if wanted is None:
        return None
    if wanted.kind == "scalar":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=wanted.always_ram)
    if wanted.kind == "binary":
        return edge.BinaryQuantizationConfig(always_ram=wanted.always_ram)
    ratio = getattr(edge.CompressionRatio, wanted.compression.upper())
    return edge.ProductQuantizationConfig(ratio, always_ram=wanted.always_ram)
