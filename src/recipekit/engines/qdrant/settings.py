"""How a collection stores and searches vectors: recipe keys, and the client's models for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from recipekit.records import Similarity

if TYPE_CHECKING:
    from qdrant_client import models

__all__ = ["DISTANCES", "CollectionSettings", "Hnsw", "Quantization", "SearchSettings"]

DISTANCES: Final[dict[Similarity, tuple[str, ...]]] = {
    "cosine": ("Dot", "Cosine"),
    "dot": ("Dot",),
    "euclidean": ("Euclid",),
    "manhattan": ("Manhattan",),
}
"""Qdrant's distances that rank by each similarity; recipekit's own collections have the first.

The embeddings of a `cosine` encoder have length 1, so that `Dot` is their cosine.
"""


class Hnsw(BaseModel):
    """The HNSW graph for approximate search (Malkov and Yashunin, arXiv 1603.09320)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    m: Annotated[int, Field(ge=2)] = 16
    """Edges per passage. More edges raise recall and take 8 bytes of memory each. 16 is Qdrant's
    default."""
    ef_construct: Annotated[int, Field(ge=4)] = 100
    """Candidates considered while building the graph. More make it better and slower to build. 100
    is Qdrant's default."""
    ef: Annotated[int, Field(ge=1)] = 256
    """Candidates considered while searching, at least the depth. Mining needs the whole list, not
    only its first hits, so the default is twice that of search engines."""


class Quantization(BaseModel):
    """Compressed vectors for the search; the best hits are rescored with the original vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["scalar", "binary", "product"] = "scalar"
    """`scalar`: one byte per dimension. `binary`: one bit, for 1000 dimensions and more.
    `product`: see `compression`."""
    compression: Literal["x4", "x8", "x16", "x32", "x64"] = "x16"
    """The compression ratio of `product`."""
    always_ram: bool = True
    """Keep the compressed vectors in memory, even if the original ones are on disk."""
    rescore: bool = True
    """Rescore the best hits with their original vectors."""
    oversampling: Annotated[float, Field(ge=1)] = 2.0
    """How many times the depth is rescored."""

    def config(self) -> models.QuantizationConfig:
        """The client's model of it."""
        from qdrant_client import models

        if self.kind == "scalar":
            scalar = models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, always_ram=self.always_ram
            )
            return models.ScalarQuantization(scalar=scalar)
        if self.kind == "binary":
            binary = models.BinaryQuantizationConfig(always_ram=self.always_ram)
            return models.BinaryQuantization(binary=binary)
        product = models.ProductQuantizationConfig(
            compression=models.CompressionRatio(self.compression), always_ram=self.always_ram
        )
        return models.ProductQuantization(product=product)


@dataclass(frozen=True)
class CollectionSettings:
    """Everything that decides what is in a collection."""

    dimension: int
    half: bool
    """Store float16, half the size, for embeddings that are float16."""
    similarity: Similarity
    on_disk: bool
    hnsw: Hnsw | None
    """None for a collection without a graph, of which every search reads all vectors."""
    quantization: Quantization | None
    shard_number: int
    replication_factor: int

    @property
    def identity(self) -> dict[str, Any]:
        """The settings as JSON values, without those of the search."""
        hnsw = self.hnsw and self.hnsw.model_dump(exclude={"ef"})
        quantization = self.quantization and self.quantization.model_dump(
            exclude={"rescore", "oversampling"}
        )
        return {**vars(self), "hnsw": hnsw, "quantization": quantization}

    def vector_params(self) -> models.VectorParams:
        """The client's model of the vectors."""
        from qdrant_client import models

        return models.VectorParams(
            size=self.dimension,
            distance=models.Distance(DISTANCES[self.similarity][0]),
            on_disk=self.on_disk,
            datatype=models.Datatype.FLOAT16 if self.half else models.Datatype.FLOAT32,
            quantization_config=self.quantization.config() if self.quantization else None,
        )

    def hnsw_config(self) -> models.HnswConfigDiff:
        """The client's model of the graph; m = 0 builds none."""
        from qdrant_client import models

        if self.hnsw is None:
            return models.HnswConfigDiff(m=0)
        return models.HnswConfigDiff(m=self.hnsw.m, ef_construct=self.hnsw.ef_construct)


@dataclass(frozen=True)
class SearchSettings:
    """How a collection is searched."""

    exact: bool
    hnsw: Hnsw
    quantization: Quantization | None

    def params(self, limit: int, *, exact: bool) -> models.SearchParams:
        """The client's model of it, for a number of hits."""
        from qdrant_client import models

        if exact:
            ignored = models.QuantizationSearchParams(ignore=True)
            return models.SearchParams(exact=True, quantization=ignored)
        quantization = self.quantization and models.QuantizationSearchParams(
            rescore=self.quantization.rescore, oversampling=self.quantization.oversampling
        )
        return models.SearchParams(hnsw_ef=max(self.hnsw.ef, limit), quantization=quantization)
