"""Vectors in a file: `.npy`, `.safetensors` or `.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import model_validator

from recipekit.component import (
    Context,
    LocalPath,
    NotIdentity,
    VectorChunk,
    VectorSourceSpec,
)
from recipekit.data_files.text_lines import text_lines
from recipekit.errors import DataError
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.arrays import Floats

__all__ = ["VectorsFile", "VectorsFileSpec"]

CHUNK = 16_384
"""Vectors that are read at a time."""
SUFFIXES = (".npy", ".safetensors", ".parquet")


class VectorsFileSpec(VectorSourceSpec):
    """Vectors in a file, by any model, a closed API's included.

    A `.npy` file has one row per text. A `.safetensors` file has a tensor of that form. Their
    ids are in a text file of their own, `ids`, one per line. A `.parquet` file has a column of ids
    and a column of lists.
    """

    path: Annotated[LocalPath, NotIdentity]
    """The file, relative to the recipe."""
    ids: Annotated[LocalPath | None, NotIdentity] = None
    """For `.npy` and `.safetensors`: a text file with the id of each row's text, one per line. By
    default rows are in the order in which the texts were collected."""
    tensor: str | None = None
    """For `.safetensors`: the tensor's name; by default the only one."""
    id_column: str = "id"
    """For `.parquet`: the column with ids."""
    vector_column: str = "vector"
    """For `.parquet`: the column with vectors."""
    similarity: Similarity = "cosine"
    """How the vectors are compared. `cosine` scales them to length 1."""

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        if self.path.suffix not in SUFFIXES:
            raise ValueError(f"path: '{self.path.name}' must end in {', '.join(SUFFIXES)}")
        if self.path.suffix == ".parquet" and self.ids is not None:
            raise ValueError("ids: a .parquet file has its ids in `id_column`; leave `ids` out")
        return self

    def files(self) -> Mapping[str, Path]:
        """Return the files that are read."""
        return {"vectors": self.path} | ({"ids": self.ids} if self.ids else {})

    def known_similarity(self) -> Similarity:
        """Return how the vectors are compared."""
        return self.similarity

    def known_dimension(self) -> int | None:
        """Read the dimension from the file's header; None if there is no such file."""
        try:
            return _open(self).dimension
        except (DataError, OSError):
            return None

    def described(self) -> str:
        """Return the file's name."""
        return f"file {self.path.name}"

    def build(self, context: Context) -> VectorsFile:
        """Open the file."""
        return _open(self)


@dataclass(frozen=True)
class VectorsFile:
    """Reads an open file."""

    spec: VectorsFileSpec
    dimension: int
    similarity: Similarity
    rows: Any
    """A matrix or slice of a tensor (n, dim), or a Parquet file."""

    def read(self) -> Iterator[VectorChunk]:
        """Stream the vectors in the order of the file."""
        if self.spec.path.suffix == ".parquet":
            yield from _parquet_chunks(self.spec, self.rows, self.dimension)
            return
        count = self.rows.get_shape()[0] if hasattr(self.rows, "get_shape") else len(self.rows)
        ids = _read_ids(self.spec.ids, count) if self.spec.ids else None
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            yield VectorChunk(ids[start:stop] if ids else None, _floats(self.rows[start:stop]))


def _open(spec: VectorsFileSpec) -> VectorsFile:
    """Open a file, and read the dimension of its vectors.

    Raises:
        DataError: There is no such file, or it has no vectors.
    """
    readers = {".npy": _open_npy, ".safetensors": _open_safetensors, ".parquet": _open_parquet}
    try:
        rows, dimension = readers[spec.path.suffix](spec)
    except FileNotFoundError as error:
        raise DataError(f"{spec.path}: no such file", code="RK301") from error
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{spec.path}: cannot be read ({line})", code="RK350") from error
    return VectorsFile(spec, dimension, spec.similarity, rows)


def _open_npy(spec: VectorsFileSpec) -> tuple[Any, int]:
    import numpy as np

    matrix = np.load(spec.path, mmap_mode="r", allow_pickle=False)
    return matrix, _width(spec.path, matrix.shape, str(matrix.dtype))


def _open_safetensors(spec: VectorsFileSpec) -> tuple[Any, int]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(spec.path, framework="pt")
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    names = sorted(file.keys())
    name = spec.tensor or (names[0] if len(names) == 1 else None)
    if name not in names:
        wanted = f"tensor '{spec.tensor}'" if spec.tensor else "single tensor: name one as `tensor`"
        raise DataError(f"{spec.path}: has no {wanted}; it has {', '.join(names)}", code="RK350")
    rows = file.get_slice(name)
    return rows, _width(spec.path, rows.get_shape(), str(rows.get_dtype()).lower())


def _open_parquet(spec: VectorsFileSpec) -> tuple[Any, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(spec.path)
    for column in (spec.id_column, spec.vector_column):
        if column not in file.schema_arrow.names:
            names = ", ".join(file.schema_arrow.names)
            raise DataError(f"{spec.path}: has no column '{column}'; it has {names}", code="RK350")
    kind = file.schema_arrow.field(spec.vector_column).type
    if not hasattr(kind, "value_type") or not pa.types.is_floating(kind.value_type):
        raise DataError(
            f"{spec.path}: column '{spec.vector_column}' has type {kind}, not lists of floats",
            code="RK350",
        )
    first = next(file.iter_batches(batch_size=1, columns=[spec.vector_column]), None)
    length = len(first.column(0)[0]) if first is not None and len(first) else 0
    return file, _width(spec.path, (file.metadata.num_rows, length), str(kind.value_type))


def _width(path: Path, shape: Any, dtype: str) -> int:
    """Check that a matrix holds vectors, and return their dimension."""
    if len(shape) != 2 or not all(shape) or not dtype.lstrip("b").startswith(("f", "h", "d")):
        raise DataError(
            f"{path}: has shape ({', '.join(map(str, shape))}) and type {dtype}; a matrix of "
            "floats with a row per text is expected",
            code="RK350",
        )
    return int(shape[1])


def _parquet_chunks(spec: VectorsFileSpec, file: Any, dimension: int) -> Iterator[VectorChunk]:
    import numpy as np

    start = 0
    for batch in file.iter_batches(CHUNK, columns=[spec.id_column, spec.vector_column]):
        vectors = batch.column(spec.vector_column)
        lengths = np.array([len(one) if one.is_valid else 0 for one in vectors])
        if (lengths != dimension).any():
            at = int(np.flatnonzero(lengths != dimension)[0])
            raise DataError(
                f"{spec.path}: the vector of row {start + at} has {lengths[at]} dimensions, that "
                f"of row 0 has {dimension}",
                code="RK350",
            )
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        ids = [str(one) for one in batch.column(spec.id_column).to_pylist()]
        yield VectorChunk(ids, _floats(flat.reshape(len(ids), dimension)))
        start += len(ids)


def _read_ids(path: Path, count: int) -> list[str]:
    """Read one id per line.

    Raises:
        DataError: It is not a text file, or has another number of ids than there are vectors.
    """
    ids = [line.rstrip("\r\n") for _, line in text_lines(path)]
    if len(ids) != count:
        raise DataError(
            f"{path}: has {len(ids):,} ids, but there are {count:,} vectors", code="RK350"
        )
    return ids


def _floats(values: Any) -> Floats:
    import numpy as np

    as_numpy = values.float().numpy() if hasattr(values, "numpy") else values
    return np.asarray(as_numpy, dtype=np.float32)
