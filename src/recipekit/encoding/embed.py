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
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Embeddings, Encoder, Progress, Ranks
from recipekit.encoding.batches import length_batches
from recipekit.encoding.block_files import BlockFile
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

__all__ = ["device_name", "embed_table", "embed_tokens", "open_embeddings"]

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
    dtype = np.dtype(MATRIX_DTYPES[encoder.precision])
    matrix = BlockFile(
        folder / "matrix",
        (len(tokens), encoder.dimension),
        dtype,
        blocks=[np.concatenate(block) for block in blocks],
        # The token budget determines the blocks.
        marks=folder / "scratch" / f"done.{encoder.max_tokens_per_batch}.{dtype}",
    )
    left = matrix.open(ranks)
    if blocks:
        _embed_blocks(encoder, tokens, blocks, left, side, matrix, ranks, progress)
    ranks.barrier()
    summary = {
        "texts": len(tokens),
        "dimension": encoder.dimension,
        "dtype": str(dtype),
        "similarity": encoder.similarity,
        "tokens": int(tokens.offsets[-1]),
        "truncated": tokens.truncated,
        "truncated_share": _share(tokens.truncated, len(tokens)),
        "encoded": sum(len(batch) for block in chain(*left) for batch in blocks[block]),
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


def _blocks(batches: Sequence[Rows]) -> list[Sequence[Rows]]:
    return [
        batches[start : start + BATCHES_PER_BLOCK]
        for start in range(0, len(batches), BATCHES_PER_BLOCK)
    ]


def _embed_blocks(
    encoder: Encoder,
    tokens: TokenizedTexts,
    blocks: Sequence[Sequence[Rows]],
    left: Sequence[Sequence[int]],
    side: Side,
    matrix: BlockFile,
    ranks: Ranks,
    progress: Progress,
) -> None:
    """Encode this rank's blocks of those that are left."""
    device = device_of(encoder)
    total = sum(len(batch) for block in left[ranks.rank] for batch in blocks[block])
    with (
        encoding(encoder, device, ranks),
        progress.track(f"encode {side}", total=total, unit="texts") as tracker,
    ):
        divided = DividedPasses(encoder, tokens, side, device, ranks, progress)
        for turn in zip_longest(*left):
            batches = [[] if block is None else blocks[block] for block in turn]
            own = batches[ranks.rank]
            rows = np.concatenate([*own, np.empty(0, np.int64)])
            encoded = np.empty((len(rows), matrix.shape[1]), np.float32)
            at = 0
            for batch, vectors in zip(own, encode(divided, own), strict=True):
                encoded[at : at + len(batch)] = vectors
                at += len(batch)
                tracker.advance(len(batch))
            divided.idle(max(map(len, batches)) - len(own))
            matrix.write(turn, _finite(encoded, matrix.dtype, rows, side), ranks)
        divided.report_other_ranks()


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
