"""Tokens to embeddings: into a memory-mapped matrix that survives a kill, or into memory.

```
<folder>/matrix             raw float32 or float16 (n, dim), row by row
<folder>/embeddings.json    the summary, written last
<folder>/scratch/           which blocks are done; removed when the artifact is committed
```

All ranks make the same number of forward passes (see `recipekit.component.ranks`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Embeddings, Encoder, Progress, Ranks
from recipekit.encoding.batches import length_batches
from recipekit.encoding.forward_passes import (
    DividedPasses,
    device_of,
    encode,
    encoding,
)
from recipekit.encoding.model_size import count_parameters
from recipekit.encoding.precision import model_of_device, name_precision
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import ModelError
from recipekit.records import Side

__all__ = [
    "blocks_left",
    "create_file",
    "device_name",
    "embed_table",
    "embed_tokens",
    "open_embeddings",
]

BATCHES_PER_BLOCK = 16
"""Batches between two saves of progress: the most that a kill costs each rank."""

MATRIX_DTYPES = {"fp32": np.float32, "bf16": np.float16}
"""bf16 has 8 significant bits. float16 holds them (it has 11) in half the space of float32, and
numpy supports it.
"""


def embed_table(
    encoder: Encoder,
    tokens: TokenizedTexts,
    side: Side,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
) -> dict[str, Any]:
    """Encode all texts of a table into `folder`, continuing where an earlier call was killed.

    The texts and the token budget alone determine the batches and the blocks of them. Rank r of R
    encodes every R-th block, and marks a block as done once its rows are on disk. All ranks call
    this together, and return when all blocks are done.

    Args:
        encoder: The encoder; its training mode is restored afterwards.
        tokens: The table's texts, tokenized by this encoder for this side.
        side: The tower that encodes.
        folder: Where the matrix is written. It may hold an earlier attempt's work for the same
            encoder and texts.
        ranks: The processes that call this together.
        progress: Where the work is shown.

    Returns:
        The summary: texts, dimension, dtype, similarity, tokens, truncated, truncated_share; how
        many texts all ranks `encoded` in this call and its seconds; and the encoder's parameters,
        precision and device.

    Raises:
        ModelError: A text's embedding is not finite.
    """
    started = time.monotonic()
    blocks = _blocks(length_batches(tokens.lengths, encoder.max_tokens_per_batch))
    shape, dtype = (len(tokens), encoder.dimension), np.dtype(MATRIX_DTYPES[encoder.precision])
    matrix = _MatrixFile(folder / "matrix", shape, dtype)
    done_path = folder / "scratch" / f"done.{encoder.max_tokens_per_batch}.{dtype}"
    if ranks.is_main:
        _create_files(matrix, done_path, len(blocks))
    ranks.barrier()
    encoded = 0
    if blocks:
        encoded = _embed_blocks(encoder, tokens, blocks, side, matrix, done_path, ranks, progress)
    ranks.barrier()
    summary = {
        "texts": len(tokens),
        "dimension": encoder.dimension,
        "dtype": str(dtype),
        "similarity": encoder.similarity,
        "tokens": int(tokens.offsets[-1]),
        "truncated": tokens.truncated,
        "truncated_share": _share(tokens.truncated, len(tokens)),
        "encoded": encoded,
        "seconds": round(time.monotonic() - started, 3),
        "parameters": count_parameters(cast("torch.nn.Module", encoder)),
        "precision": name_precision(encoder.precision, device_of(encoder)),
        "device": device_name(encoder, ranks),
    }
    if ranks.is_main:
        write_json(folder / "embeddings.json", summary)
        progress.log("encoded", side=side, **summary)
    ranks.barrier()
    return summary


def _create_files(matrix: _MatrixFile, done_path: Path, blocks: int) -> None:
    """Create the matrix and the list of blocks that are done, as far as they do not exist."""
    done_path.parent.mkdir(parents=True, exist_ok=True)
    if create_file(matrix.path, matrix.shape[0] * matrix.shape[1] * matrix.dtype.itemsize):
        done_path.unlink(missing_ok=True)
    create_file(done_path, blocks)


def device_name(encoder: Encoder, ranks: Ranks) -> str:
    """Return where texts are embedded: `CPU`, or `2 x NVIDIA H200` for two ranks."""
    name = model_of_device(device_of(encoder))
    return name if ranks.count == 1 else f"{ranks.count} x {name}"


def _share(count: int | None, total: int) -> float | None:
    return None if count is None else round(count / max(total, 1), 6)


def open_embeddings(folder: Path) -> Embeddings:
    """Map the matrix that `embed_table` wrote.

    Raises:
        FileNotFoundError: `embed_table` did not finish in this folder.
    """
    summary = json.loads((folder / "embeddings.json").read_text())
    shape = (summary["texts"], summary["dimension"])
    matrix: npt.NDArray[Any]
    if summary["texts"] == 0:  # an empty file cannot be mapped
        matrix = np.empty(shape, summary["dtype"])
    else:
        matrix = np.memmap(folder / "matrix", summary["dtype"], "r", shape=shape)
    return Embeddings(folder / "matrix", matrix, summary["similarity"], folder.name)


def embed_tokens(
    encoder: Encoder,
    tokens: TokenizedTexts,
    rows: npt.NDArray[np.integer[Any]],
    side: Side,
    ranks: Ranks,
    *,
    max_tokens_per_batch: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Embed some tokenized texts in memory.

    All ranks call this together. They share the batches, and each returns all embeddings.

    Args:
        encoder: The encoder; its training mode is restored afterwards.
        tokens: Tokenized texts of this side.
        rows: The texts to embed.
        side: The tower that encodes.
        ranks: The processes that call this together.
        max_tokens_per_batch: Padded tokens in one forward pass; by default the encoder's own.
        device: The encoder's device; by default that of its parameters.
        progress: Where a lack of memory is reported.

    Returns:
        float32 (len(rows), dim), in the order of `rows`.
    """
    device = torch.device(device) if device is not None else device_of(encoder)
    at = np.asarray(rows, dtype=np.int64)
    budget = max_tokens_per_batch or encoder.max_tokens_per_batch
    batches = length_batches(tokens.lengths[at], budget)
    own = batches[ranks.rank :: ranks.count]
    passes = -(-len(batches) // ranks.count)
    embeddings = np.zeros((len(rows), encoder.dimension), dtype=np.float32)
    with encoding(encoder, device, ranks):
        passes_in_memory = DividedPasses(encoder, tokens, side, device, ranks, progress)
        encoded = encode(passes_in_memory, (at[batch] for batch in own))
        for batch, vectors in zip(own, encoded, strict=True):
            embeddings[batch] = vectors
        passes_in_memory.idle(passes - len(own))
        passes_in_memory.report_other_ranks()
    if ranks.count == 1:
        return embeddings
    # Each row is zero on all ranks but one, so the sum is exact.
    return ranks.sum(torch.from_numpy(embeddings).to(device)).cpu().numpy()


@dataclass(frozen=True)
class _MatrixFile:
    """A raw matrix on disk."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def map(self) -> npt.NDArray[Any]:
        """Map the file for writing."""
        return np.memmap(self.path, self.dtype, "r+", shape=self.shape)


def _blocks(batches: Sequence[Rows]) -> list[Sequence[Rows]]:
    return [
        batches[start : start + BATCHES_PER_BLOCK]
        for start in range(0, len(batches), BATCHES_PER_BLOCK)
    ]


def create_file(path: Path, size: int) -> bool:
    """Create a file of zeros, unless a file of this size exists; return whether it was created."""
    if path.is_file() and path.stat().st_size == size:
        return False
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            # A full disk is an OSError here; later, under a memory map, it would kill the process.
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)
    temporary.replace(path)
    return True


def _embed_blocks(
    encoder: Encoder,
    tokens: TokenizedTexts,
    blocks: Sequence[Sequence[Rows]],
    side: Side,
    matrix: _MatrixFile,
    done_path: Path,
    ranks: Ranks,
    progress: Progress,
) -> int:
    """Encode this rank's unfinished blocks, and mark each as done.

    Returns:
        How many texts all ranks encoded.
    """
    left = blocks_left(done_path, ranks)
    ranks.barrier()  # a rank marks its first block only after all ranks have read the marks
    device = device_of(encoder)
    total = sum(len(batch) for block in left[ranks.rank] for batch in blocks[block])
    with (
        encoding(encoder, device, ranks),
        progress.track(f"encode {side}", total=total, unit="texts") as tracker,
    ):
        divided = DividedPasses(encoder, tokens, side, device, ranks, progress)
        for now in zip_longest(*left):
            batches = [[] if block is None else blocks[block] for block in now]
            own = batches[ranks.rank]
            rows = np.concatenate([*own, np.empty(0, np.int64)])
            encoded = np.empty((len(rows), matrix.shape[1]), np.float32)
            at = 0
            for batch, vectors in zip(own, encode(divided, own), strict=True):
                encoded[at : at + len(batch)] = vectors
                at += len(batch)
                tracker.advance(len(batch))
            divided.idle(max(map(len, batches)) - len(own))
            stored = _finite(encoded, matrix.dtype, rows, side)
            if ranks.machines == 1:
                _write_block(matrix, done_path, now[ranks.rank], rows, stored)
                continue
            # The main rank writes what all of them have encoded.
            parts = ranks.gather(torch.from_numpy(stored).to(device))
            if ranks.is_main:
                for block, part, divided_rows in zip(now, parts, batches, strict=True):
                    rows = np.concatenate([*divided_rows, np.empty(0, np.int64)])
                    _write_block(matrix, done_path, block, rows, part.cpu().numpy())
        divided.report_other_ranks()
    return sum(len(batch) for numbers in left for block in numbers for batch in blocks[block])


def blocks_left(done_path: Path, ranks: Ranks) -> list[list[int]]:
    """Return the numbers of each rank's blocks that are not done, a list for each rank."""
    done: npt.NDArray[np.uint8] | None = None
    if ranks.is_main or ranks.machines == 1:
        done = np.fromfile(done_path, np.uint8)
    if ranks.machines > 1:
        done = ranks.broadcast(done)
    assert done is not None, "it was read or received"
    return [
        [block for block in range(rank, len(done), ranks.count) if not done[block]]
        for rank in range(ranks.count)
    ]


def _write_block(
    matrix: _MatrixFile, done_path: Path, block: int | None, rows: Rows, vectors: Floats
) -> None:
    """Write a block's rows to the disk, and then mark it as done."""
    if block is None:
        return
    # The file is mapped again for each block: rows of similar length lie all over it, and the pages
    # of a mapping that stays open count as memory.
    rows_on_disk, done = matrix.map(), np.memmap(done_path, np.uint8, "r+")
    rows_on_disk[rows] = vectors
    rows_on_disk.flush()  # type: ignore[attr-defined]
    done[block] = 1
    done.flush()


def _finite(vectors: Floats, dtype: np.dtype[Any], rows: Rows, side: Side) -> npt.NDArray[Any]:
    """Convert vectors to the matrix's dtype, in which large numbers may overflow."""
    with np.errstate(over="ignore"):
        stored = vectors.astype(dtype, copy=False)
    finite = np.isfinite(stored).all(axis=1)
    if not finite.all():
        row = int(rows[~finite][0])
        raise ModelError(
            f"the encoder returns NaN or infinity in {dtype} for {side} {row} "
            "(row in the data set)",
            code="RK430",
        )
    return stored
