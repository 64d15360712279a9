"""What decides a Qdrant collection and its search, and how it is said to the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from qdrant_client import models

__all__ = ["CollectionSettings", "Hnsw", "Quantization", "search_params", "vector_params"]


class Hnsw(BaseModel):
    """The graph of neighbours (Malkov and Yashunin, arXiv 1603.09320) through which approximate
    search goes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    m: Annotated[int, Field(ge=2)] = 16
    """Edges of a passage.

    More find more, and take more memory (8 bytes each). 16 is Qdrant's own.
    """
    ef_construct: Annotated[int, Field(ge=4)] = 100
    """Candidates kept in view while the graph is built.

    More build a better one, slower. 100 is Qdrant's own.
    """
    ef: Annotated[int, Field(ge=1)] = 256
    """Candidates kept in view while searching, never fewer than the depth. Mining wants the whole
    list right, not only its first few, so this is twice what search engines take."""


class Quantization(BaseModel):
    """Shortened vectors, with which the search goes; the whole ones are then read for the best
    alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["scalar", "binary", "product"] = "scalar"
    """`scalar`: a byte a dimension.

    `binary`: a bit, for vectors of 1000 dimensions and more. `product`: `compression`.
    """
    compression: Literal["x4", "x8", "x16", "x32", "x64"] = "x16"
    """How much shorter `product` makes them."""
    always_ram: bool = True
    """Keep the shortened vectors in memory, also where the whole ones are on disk."""
    rescore: bool = True
    """Score the best anew with their whole vectors."""
    oversampling: Annotated[float, Field(ge=1)] = 2.0
    """How many times the depth is looked at before that."""


@dataclass(frozen=True)
class CollectionSettings:
    """Everything that decides what is in a collection of ours, and how it answers."""

    dimension: int
    half: bool
    """Kept as float16, in half the space: so are embeddings of bfloat16 arithmetic, and nothing is
    lost.
    """
    distance: Literal["dot", "cosine"]
    hnsw: Hnsw
    exact: bool
    """Without a graph: every search reads every vector."""
    quantization: Quantization | None
    on_disk: bool
    shards: int
    replication: int

    @property
    def identity(self) -> dict[str, Any]:
        """What enters the collection's name; how it is searched does not."""
        hnsw = None if self.exact else {"m": self.hnsw.m, "ef_construct": self.hnsw.ef_construct}
        quantization = self.quantization and self.quantization.model_dump(
            exclude={"rescore", "oversampling"}
        )
        plain = {
            "dimension": self.dimension,
            "half": self.half,
            "distance": self.distance,
            "on_disk": self.on_disk,
        }
        return {
            **plain,
            "hnsw": hnsw,
            "quantization": quantization,
            "shards": self.shards,
            "replication": self.replication,
        }


def vector_params(settings: CollectionSettings) -> models.VectorParams:
    """The vectors of a collection of ours."""
    from qdrant_client import models

    return models.VectorParams(
        size=settings.dimension,
        distance=models.Distance.DOT if settings.distance == "dot" else models.Distance.COSINE,
        on_disk=settings.on_disk,
        datatype=models.Datatype.FLOAT16 if settings.half else models.Datatype.FLOAT32,
        quantization_config=_quantization_config(settings.quantization),
    )


def _quantization_config(wanted: Quantization | None) -> models.QuantizationConfig | None:
    from qdrant_client import models

    if wanted is None:
        return None
    if wanted.kind == "scalar":
        scalar = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, always_ram=wanted.always_ram
        )
        return models.ScalarQuantization(scalar=scalar)
    if wanted.kind == "binary":
        return models.BinaryQuantization(
            binary=models.BinaryQuantizationConfig(always_ram=wanted.always_ram)
        )
    ratio = models.CompressionRatio(wanted.compression)
    return models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=ratio, always_ram=wanted.always_ram)
    )


def search_params(
    hnsw: Hnsw, quantization: Quantization | None, limit: int, *, exact: bool
) -> models.SearchParams:
    """How a search goes."""
    from qdrant_client import models

    if exact:
        return models.SearchParams(
            exact=True, quantization=models.QuantizationSearchParams(ignore=True)
        )
    quantized = quantization and models.QuantizationSearchParams(
        rescore=quantization.rescore, oversampling=quantization.oversampling
    )
    return models.SearchParams(hnsw_ef=max(hnsw.ef, limit), quantization=quantized)
