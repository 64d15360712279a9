"""Texts to embeddings: into a memory-mapped matrix that survives a kill, or into memory.

```
<folder>/matrix             raw float32 or float16 (n, dim), row by row
<folder>/embeddings.json    the summary, written last
<folder>/scratch/           tokens, and which blocks are done: removed when the artifact is committed
```
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Floats, Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Embeddings, Encoder, Progress, Ranks
from recipekit.encoding.batches import length_batches
from recipekit.encoding.precision import computes_in_bf16
from recipekit.encoding.tokens import TokenizedTexts, tokenize_table
from recipekit.errors import ModelError
from recipekit.records import Side
from recipekit.tables import TextTable

__all__ = ["embed_table", "embed_tokens", "open_embeddings"]

BATCHES_PER_BLOCK = 16
"""Batches between two marks of progress: what a kill costs at most, on each rank."""

MATRIX_DTYPES = {"fp32": np.float32, "bf16": np.float16}
"""bf16 arithmetic leaves 8 significant bits, which float16 (11 bits) holds in half of float32's
space, and which numpy knows.
"""


def embed_table(
    encoder: Encoder,
    table: TextTable,
    side: Side,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
    *,
    tokens: TokenizedTexts | None = None,
) -> dict[str, Any]:
    """Encode a table into `folder`, all ranks together, going on where an earlier call was killed.

    Batches, and blocks of them, are decided by the texts and the token budget alone. Rank r of R
    encodes every R-th block; a block is marked done once its rows are on the disk. No rank returns
    before all blocks are done.

    Args:
        encoder: What encodes; its mode is as it was afterwards.
        table: The texts.
        side: Whose tower encodes.
        folder: Where the matrix is made; it may hold an earlier attempt's work, of the same encoder
            and table.
        ranks: The processes that call this together.
        progress: Where the work is shown.
        tokens: The table tokenized, where it is already; otherwise the main rank tokenizes it
            first.

    Returns:
        The summary: texts, dimension, dtype, normalized, tokens, truncated, truncated_share,
        seconds (of this call).

    Raises:
        ModelError: A text's embedding is not finite.
    """
    started = time.monotonic()
    if tokens is None:
        tokens = _tokens_of_all_ranks(encoder, table, side, folder, ranks, progress)
    blocks = _blocks(length_batches(tokens.lengths, encoder.max_tokens_per_batch))
    shape, dtype = (len(table), encoder.dimension), np.dtype(MATRIX_DTYPES[encoder.precision])
    done_path = folder / "scratch" / f"done.{encoder.max_tokens_per_batch}.{dtype}"
    if ranks.is_main:
        done_path.parent.mkdir(parents=True, exist_ok=True)
        if _make_file(folder / "matrix", shape[0] * shape[1] * dtype.itemsize):
            done_path.unlink(missing_ok=True)
        _make_file(done_path, len(blocks))
    ranks.barrier()
    if blocks:
        _embed_blocks(
            encoder,
            tokens,
            blocks,
            side,
            (folder / "matrix", shape, dtype),
            done_path,
            ranks,
            progress,
        )
    ranks.barrier()
    n_tokens = int(tokens.offsets[-1])
    summary = {
        "texts": len(table), "dimension": encoder.dimension, "dtype": str(dtype), "normalized": encoder.normalized,
        "tokens": n_tokens, "truncated": tokens.truncated, "truncated_share": round(tokens.truncated / max(len(table), 1), 6),
        "seconds": round(time.monotonic() - started, 3),
    }  # fmt: skip
    if ranks.is_main:
        write_json(folder / "embeddings.json", summary)
        progress.log("encoded", side=side, **summary)
    ranks.barrier()
    return summary


def open_embeddings(folder: Path) -> Embeddings:
    """Map what `embed_table` wrote. A folder that it did not finish is a FileNotFoundError."""
    told = json.loads((folder / "embeddings.json").read_text())
    shape = (told["texts"], told["dimension"])
    if told["texts"] == 0:  # an empty file cannot be mapped
        return Embeddings(
            folder / "matrix", np.empty(shape, told["dtype"]), told["normalized"], folder.name
        )
    matrix = np.memmap(folder / "matrix", told["dtype"], "r", shape=shape)
    return Embeddings(folder / "matrix", matrix, told["normalized"], folder.name)


def embed_tokens(
    encoder: Encoder,
    tokens: TokenizedTexts,
    rows: npt.NDArray[np.integer[Any]],
    side: Side,
    ranks: Ranks,
    *,
    max_tokens_per_batch: int | None = None,
    device: torch.device | str | None = None,
) -> Floats:
    """Embeddings of some tokenized texts, in memory: float32 (len(rows), dim), in the order of
    `rows`, on every rank.

    Several ranks share the batches and then their results, through torch.distributed.

    Args:
        encoder: What encodes; its mode is as it was afterwards.
        tokens: Tokenized texts of this side.
        rows: Which of them.
        side: Whose tower encodes.
        ranks: The processes that call this together.
        max_tokens_per_batch: Padded tokens in one forward pass; by default the encoder's own.
        device: Where the encoder is; by default where its parameters are.
    """
    where = torch.device(device) if device is not None else _device(encoder)
    at = np.asarray(rows, dtype=np.int64)
    batches = length_batches(
        tokens.lengths[at], max_tokens_per_batch or encoder.max_tokens_per_batch
    )
    out = np.zeros((len(rows), encoder.dimension), dtype=np.float32)
    mine = batches[ranks.rank :: ranks.count]
    with _encoding(encoder, where):
        encoded = _encode(encoder, tokens, (at[batch] for batch in mine), side, where)
        for batch, vectors in zip(mine, encoded, strict=True):
            out[batch] = vectors
    if ranks.count == 1:
        return out
    # Every row is zero on all ranks but one, so that the sum is exact.
    whole = torch.from_numpy(out).to(where)
    torch.distributed.all_reduce(whole)
    return whole.cpu().numpy()


def _tokens_of_all_ranks(
    encoder: Encoder, table: TextTable, side: Side, folder: Path, ranks: Ranks, progress: Progress
) -> TokenizedTexts:
    place = folder / "scratch" / "tokens"
    if ranks.is_main:
        tokenize_table(encoder, table, side, place, progress)
    ranks.barrier()
    return TokenizedTexts.open(place)


def _blocks(batches: Sequence[Rows]) -> list[Sequence[Rows]]:
    return [
        batches[start : start + BATCHES_PER_BLOCK]
        for start in range(0, len(batches), BATCHES_PER_BLOCK)
    ]


def _make_file(path: Path, size: int) -> bool:
    """A file of zeros of this size, unless one is there that holds an earlier call's work; whether
    it was made.
    """
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
    matrix: tuple[Path, tuple[int, int], np.dtype[Any]],
    done_path: Path,
    ranks: Ranks,
    progress: Progress,
) -> None:
    """Encode this rank's blocks that are not done, and mark them."""
    path, shape, dtype = matrix
    done = np.memmap(done_path, np.uint8, "r+")
    todo = [block for block in range(ranks.rank, len(blocks), ranks.count) if not done[block]]
    device = _device(encoder)
    total = sum(len(batch) for block in todo for batch in blocks[block])
    with (
        _encoding(encoder, device),
        progress.track(f"encode {side}", total=total, unit="texts") as tracker,
    ):
        for block in todo:
            # Mapped anew for each block: rows of like length lie all over the file, and a mapping
            # that stays counts as memory.
            rows_on_disk = np.memmap(path, dtype, "r+", shape=shape)
            for batch, vectors in zip(
                blocks[block], _encode(encoder, tokens, blocks[block], side, device), strict=True
            ):
                rows_on_disk[batch] = _finite(vectors, dtype, batch, side)
                tracker.advance(len(batch))
            rows_on_disk.flush()
            done[block] = 1
            done.flush()


def _finite(vectors: Floats, dtype: np.dtype[Any], rows: Rows, side: Side) -> npt.NDArray[Any]:
    """The vectors in the matrix's dtype, in which a large number may not be finite any more."""
    with np.errstate(over="ignore"):
        stored = vectors.astype(dtype, copy=False)
    finite = np.isfinite(stored).all(axis=1)
    if not finite.all():
        row = int(rows[~finite][0])
        raise ModelError(
            f"the encoder gives NaN or infinity in {dtype} for {side} {row} (row in the data set)",
            code="RK430",
        )
    return stored


def _encode(
    encoder: Encoder,
    tokens: TokenizedTexts,
    batches: Iterable[Rows],
    side: Side,
    device: torch.device,
) -> Iterator[Floats]:
    """Embeddings of each batch, float32 (n, dim), in order.

    A batch's result is fetched after the next batch was started, so that a GPU works while the CPU
    collates.
    """
    before: torch.Tensor | None = None
    for rows in batches:
        features = encoder.collate(tokens.take(rows), side)
        on_device = {name: value.to(device, non_blocking=True) for name, value in features.items()}
        vectors = encoder(on_device, side)
        if before is not None:
            yield before.cpu().numpy()
        before = vectors.float()
    if before is not None:
        yield before.cpu().numpy()


@contextmanager
def _encoding(encoder: Encoder, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients, in the encoder's precision, and the mode before it
    afterwards.

    One autocast around all batches, since it remembers the rounded weights until it ends.
    """
    module = cast("torch.nn.Module", encoder)
    training = module.training
    module.eval()
    try:
        with (
            torch.no_grad(),
            torch.autocast(
                device.type, torch.bfloat16, enabled=computes_in_bf16(encoder.precision, device)
            ),
        ):
            yield
    finally:
        module.train(training)


def _device(encoder: Encoder) -> torch.device:
    return next(cast("torch.nn.Module", encoder).parameters()).device
