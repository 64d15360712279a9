"""Writes a folder of vectors, and the text that says how to search them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.parquet as pq

from recipekit.artifacts.store import write_json
from recipekit.component import Embeddings
from recipekit.encoding.compression import Compressor, fit_compressor
from recipekit.exporters.cards import write_card
from recipekit.report.blocks import Block, Listing, ReportSection, Table, Text
from recipekit.tables import TextTable

if TYPE_CHECKING:
    from recipekit.exporters.embeddings import EmbeddingsSpec

__all__ = ["write_vectors"]

ROWS_AT_ONCE: Final = 16_384

READ: Final = """\
import numpy as np
import pyarrow.parquet as pq

passages = np.load("passages.npy", mmap_mode="r")
ids = pq.read_table("passages.parquet")["id"]"""

EXPAND: Final = {
    "fp32": "vectors = passages",
    "int8": """\
low, high = np.load("ranges.npy")
vectors = low + (passages.astype(np.float32) + 128.5) * ((high - low) / 255)""",
    "binary": """\
vectors = np.unpackbits(passages, axis=1, count={dimension}).astype(np.float32) * 2 - 1""",
}
"""How stored numbers become numbers that a query is compared with."""


def write_vectors(
    spec: EmbeddingsSpec, vectors: Embeddings, passages: TextTable, name: str, folder: Path
) -> None:
    """Write the passages' vectors with their ids and a README.

    Args:
        spec: The exporter.
        vectors: The passages' embeddings.
        passages: The passages, in the order of the embeddings.
        name: The recipe's name.
        folder: Where the files are written.

    Raises:
        RunError: The vectors cannot be compressed as asked.
    """
    matrix, compressor = vectors.matrix, None
    if spec.compression is not None:
        compressor = fit_compressor(spec.compression, matrix, vectors.similarity)
    _write_matrix(folder / "passages.npy", matrix, compressor)
    pq.write_table(passages.table.select(["id", "source"]), folder / "passages.parquet")
    if compressor is not None and compressor.ranges is not None:
        np.save(folder / "ranges.npy", compressor.ranges)
    if compressor is not None and compressor.components is not None:
        np.save(folder / "components.npy", compressor.components)
    facts = {
        "encoder": spec.encoder,
        "passages": len(vectors),
        "dimensions": compressor.dimension if compressor else int(matrix.shape[1]),
        "similarity": vectors.similarity,
        "precision": spec.compression.precision if spec.compression else "fp32",
        "compression": spec.compression.name if spec.compression else None,
        "bytes_per_vector": compressor.bytes_per_vector if compressor else matrix.shape[1] * 4,
    }
    write_json(folder / "vectors.json", facts)
    _write_readme(folder, name, facts, compressor)


def _write_matrix(file: Path, matrix: Any, compressor: Compressor | None) -> None:
    """Write rows in blocks, since a corpus can be larger than memory."""
    start = 0
    out: Any = None
    for block in _stored(matrix, compressor):
        if out is None:
            shape = (len(matrix), block.shape[1])
            out = np.lib.format.open_memmap(file, "w+", block.dtype, shape)
        out[start : start + len(block)] = block
        start += len(block)
    out.flush()


def _stored(matrix: Any, compressor: Compressor | None) -> Iterator[Any]:
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        block = matrix[start : start + ROWS_AT_ONCE]
        yield compressor.compress(block) if compressor else block.astype(np.float32)


def _write_readme(
    folder: Path, name: str, facts: dict[str, Any], compressor: Compressor | None
) -> None:
    rows = [[label, "none" if value is None else str(value)] for label, value in facts.items()]
    expanded = EXPAND[facts["precision"]].format(dimension=facts["dimensions"])
    blocks: list[Block] = [
        Text(f"The passages' vectors of the recipe {name}, by its encoder {facts['encoder']}."),
        Table(["", ""], rows, left=2),
        ReportSection("Read", [Listing(READ, "python"), Listing(expanded, "python")]),
        ReportSection(
            "Search", [Text(_advice(facts)), Listing(_search(facts, compressor), "python")]
        ),
    ]
    write_card(folder, {"tags": ["embeddings", "recipekit"]}, f"Vectors of {name}", blocks)


def _advice(facts: dict[str, Any]) -> str:
    first = "Queries are embedded by the same encoder and are not quantized."
    if facts["precision"] != "binary":
        return first
    return (
        f"{first} An index of bits, such as faiss.IndexBinaryFlat, takes passages.npy itself and "
        "np.packbits(queries > 0, axis=1). Fetch several times the passages that you need, and "
        "rank them by the query's full vector, as here."
    )


def _search(facts: dict[str, Any], compressor: Compressor | None) -> str:
    lines = ['queries = model.encode_query(["a question"])']
    if compressor is not None and compressor.components is not None:
        lines.append('queries = queries @ np.load("components.npy").T')
    elif compressor is not None and compressor.dimension < compressor.full_dimension:
        lines.append(f"queries = queries[:, :{compressor.dimension}]")
    if facts["similarity"] in ("cosine", "dot"):
        lines.append("scores = queries @ vectors.T")
    else:
        order = 1 if facts["similarity"] == "manhattan" else 2
        lines.append(f"scores = -np.linalg.norm(queries[:, None] - vectors, ord={order}, axis=2)")
    lines.append("best = np.argsort(-scores, axis=1)[:, :10]")
    return "\n".join(lines)
