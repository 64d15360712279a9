"""The recipe keys of compressed vectors: fewer dimensions, fewer bits, or both.

This module imports nothing heavy; `recipekit.encoding.compression` does the work.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Compression", "CompressionKeys", "Precision", "bytes_per_vector"]

Precision = Literal["fp32", "int8", "binary"]
RESCORE: Final = 4
"""The default of `rescore`, as in sentence-transformers' examples."""


def bytes_per_vector(dimension: int, precision: Precision = "fp32") -> int:
    """Return the bytes of a vector in an index: float32, int8, or one bit for each number.

    The precision in which the encoder computed does not count: an index of vectors stores float32
    by default, also for an encoder in bf16.
    """
    if precision == "binary":
        return -(-dimension // 8)
    return dimension * (1 if precision == "int8" else 4)


class CompressionKeys(BaseModel):
    """How vectors are compressed: first to fewer dimensions, then to fewer bits for each."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    def distributions(self) -> tuple[str, ...]:
        """Return the distributions that compute the vectors, for `Component.distributions()`."""
        return ("scikit-learn",) if self.pca else ()

    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Keep only the first dimensions, as a model that was trained with the `matryoshka` loss
    allows. Vectors of `cosine` are scaled to length 1 again."""
    pca: Annotated[int, Field(ge=1)] | None = None
    """Keep this many principal components of the passages' vectors. Vectors of `cosine` are scaled
    to length 1 again."""
    precision: Precision = "fp32"
    """Numbers of each dimension: `int8` divides the range that the passages have in a dimension
    into 256 steps, and `binary` keeps the sign, so 8 dimensions take a byte."""
    rescore: Annotated[int, Field(ge=0, le=1000)] = RESCORE
    """For `binary`: find this many times the needed passages by their bits, and rank them by the
    uncompressed query's similarity with the bits. 0 ranks only by the bits."""

    @model_validator(mode="after")
    def _compresses(self) -> Self:
        if self.dimensions is not None and self.pca is not None:
            raise ValueError("dimensions and pca both reduce the dimensions: choose one")
        if self.dimensions is None and self.pca is None and self.precision == "fp32":
            raise ValueError("nothing is compressed: set dimensions, pca, or a precision")
        return self

    @property
    def name(self) -> str:
        """A short name for tables and files: `int8`, `pca-128`, `first-128-binary`."""
        parts = [
            f"pca-{self.pca}" if self.pca else "",
            f"first-{self.dimensions}" if self.dimensions else "",
            self.precision if self.precision != "fp32" else "",
            self._rescoring,
        ]
        return "-".join(filter(None, parts))

    @property
    def _rescoring(self) -> str:
        if self.precision != "binary" or self.rescore == RESCORE:
            return ""
        return f"rescore-{self.rescore}" if self.rescore else "bits-alone"


def _from_short(value: Any) -> Any:
    """Return the keys that a precision stands for."""
    if isinstance(value, str):
        if value not in SHORT:
            raise ValueError(f"'{value}' is not int8, binary, or keys such as {{pca: 128}}")
        return {"precision": value}
    return value


SHORT: Final = ("int8", "binary")
_Written = Literal["int8", "binary"] | CompressionKeys
Compression = Annotated[
    CompressionKeys, BeforeValidator(_from_short, json_schema_input_type=_Written)
]
"""`int8`, `binary`, or keys: `{pca: 128}`, `{dimensions: 128, precision: int8}`."""
