"""Exact top-k by any similarity, in tiles.

Memory holds at most one block of queries by one tile of passages. A tile is scored in float32, and
its best columns are merged into the best so far. The last bit of a pair's score in a matrix product
depends on the tile and the batch, so the few survivors are scored again, always in the same order
of summation. Scores and ties therefore depend only on the two vectors: equal scores are ordered by
the lower row, for any tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Rows
from recipekit.component import Hits
from recipekit.errors import RunError
from recipekit.records import Similarity
from recipekit.search.similarity import pair_scores, tile_scores

__all__ = ["Matrix", "exact_top_k", "moved", "resident", "top_k_blocks"]

Matrix = npt.NDArray[Any] | torch.Tensor
"""Embeddings (n, dim), float32 or float16: an array, a memory map, or a tensor."""

SLACK = 16
"""Passages beyond the depth that are scored again, so that rounding in the first scoring does not
decide which passages are returned."""
COPIED = 1 << 18
"""Rows that are copied to a GPU at once: 1 GB at 1,024 dimensions."""
CHUNK = 1 << 20
"""Numbers that the second scoring holds at once: 4 MB, which fit a CPU's cache."""


def exact_top_k(
    queries: Matrix,
    passages: Matrix,
    depth: int,
    *,
    similarity: Similarity,
    device: str = "cpu",
    tile: int | None = None,
    block: int | None = None,
    exclude: Rows | None = None,
) -> Hits:
    """Find the `depth` passages of highest similarity for each query.

    Ties are broken by the lower row.

    Args:
        queries: (n, dim).
        passages: (N, dim). A depth beyond N is padded with row -1 and score -inf.
        depth: How many passages per query.
        similarity: How vectors are compared; those of `cosine` have length 1.
        device: The torch device to score on.
        tile: Passages scored at once; the default depends on the device. It does not change the
            result.
        block: Queries scored at once, likewise.
        exclude: int64 (n,): for each query a passage row that is not returned, or -1.

    Raises:
        RunError: The embeddings contain NaN.
    """
    parts = [
        hits
        for _, hits in top_k_blocks(
            queries,
            passages,
            depth,
            similarity=similarity,
            device=device,
            tile=tile,
            block=block,
            exclude=exclude,
        )
    ]
    if not parts:
        return Hits(np.empty((0, depth), np.int32), np.empty((0, depth), np.float32))
    return Hits(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def top_k_blocks(
    queries: Matrix,
    passages: Matrix,
    depth: int,
    *,
    similarity: Similarity,
    device: str = "cpu",
    tile: int | None = None,
    block: int | None = None,
    exclude: Rows | None = None,
) -> Iterator[tuple[int, Hits]]:
    """Search like `exact_top_k`, for more queries than fit in memory.

    Yields:
        For each block of queries, the row of its first query, and its hits.
    """
    if queries.shape[1] != passages.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions, passages {passages.shape[1]}"
        )
    # A GPU needs large products to be busy; on a CPU a tile should stay near the cache.
    tile = tile or (8192 if device == "cpu" else 32768)
    block = block or (1024 if device == "cpu" else 4096)
    for start in range(0, len(queries), block):
        part = _rows(queries, start, start + block, device)
        barred = (
            None
            if exclude is None
            else torch.from_numpy(exclude[start : start + block].astype(np.int64)).to(device)
        )
        rows = _select(part, passages, depth + SLACK, tile, barred, similarity)
        yield start, _ranked(part, passages, rows, depth, similarity)


def resident(matrix: npt.NDArray[Any], device: str) -> Matrix:
    """Move a matrix to its GPU if it takes less than half of the free memory there.

    Otherwise it is returned unchanged, and read in tiles.
    """
    if not device.startswith("cuda") or matrix.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return matrix
    return moved(matrix, device)


def moved(matrix: npt.NDArray[Any], device: str) -> torch.Tensor:
    """Copy a matrix to a device in parts: all ranks of a machine may do so at the same time."""
    dtype = torch.from_numpy(np.array(matrix[:0])).dtype
    copy = torch.empty(matrix.shape, dtype=dtype, device=device)
    for start in range(0, len(matrix), COPIED):
        part = slice(start, start + COPIED)
        copy[part] = torch.from_numpy(np.array(matrix[part]))
    return copy


def _rows(matrix: Matrix, start: int, stop: int, device: str) -> torch.Tensor:
    part = matrix[start:stop]
    # A memory map is read-only, which torch does not support: np.array copies the tile.
    return (part if isinstance(part, torch.Tensor) else torch.from_numpy(np.array(part))).to(
        device, torch.float32
    )


def _select(
    queries: torch.Tensor,
    passages: Matrix,
    kept: int,
    tile: int,
    barred: torch.Tensor | None,
    similarity: Similarity,
) -> torch.Tensor:
    """Return rows (n, <= kept) of the best passages by float32 score, -1 for no passage.

    Of equal scores, the lower rows are kept.
    """
    scores = queries.new_empty((len(queries), 0))
    rows = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    for start in range(0, len(passages), tile):
        part = _rows(passages, start, start + tile, str(queries.device))
        scored = tile_scores(queries, part, similarity)
        if barred is not None:
            here = torch.nonzero((barred >= start) & (barred < start + scored.shape[1])).squeeze(1)
            scored[here, barred[here] - start] = -torch.inf
        columns = _best_columns(scored, kept)
        # Rows of a later tile are higher and come after: a stable sort keeps the lower row first.
        scores = torch.cat([scores, scored.gather(1, columns)], dim=1)
        rows = torch.cat([rows, columns + start], dim=1)
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :kept]
        scores, rows = scores.gather(1, order), rows.gather(1, order)
    return rows.masked_fill(scores == -torch.inf, -1)


def _best_columns(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k best columns of each row, ascending.

    Of equal scores the lower columns are returned, which `torch.topk` does not guarantee.
    """
    if scores.shape[1] <= k:
        return torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    best = torch.topk(scores, k + 1, dim=1)
    columns = best.indices[:, :k]
    # The choice is ambiguous only if the last column in and the first one out are equal: those few
    # rows are sorted entirely.
    tied = (best.values[:, k - 1] == best.values[:, k]) & (best.values[:, k] > -torch.inf)
    if bool(tied.any()):
        columns[tied] = torch.sort(scores[tied], dim=1, descending=True, stable=True).indices[:, :k]
    return columns.sort(dim=1).values


def _ranked(
    queries: torch.Tensor, passages: Matrix, rows: torch.Tensor, depth: int, similarity: Similarity
) -> Hits:
    rows = rows.sort(dim=1).values
    scores = _exact_scores(queries, passages, rows, similarity).masked_fill(rows < 0, -torch.inf)
    if bool(scores.isnan().any()):
        row = int(rows[scores.isnan()][0])
        raise RunError(
            f"the embeddings contain NaN (passage row {row}, or a query scored against it): the "
            "encoder is broken",
            code="RK641",
        )
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :depth]
    found = Hits(
        np.full((len(rows), depth), -1, np.int32), np.full((len(rows), depth), -np.inf, np.float32)
    )
    found.rows[:, : order.shape[1]] = rows.gather(1, order).cpu().numpy()
    found.scores[:, : order.shape[1]] = scores.gather(1, order).cpu().numpy()
    return found


def _exact_scores(
    queries: torch.Tensor, passages: Matrix, rows: torch.Tensor, similarity: Similarity
) -> torch.Tensor:
    """Compute each query's scores of its own passages, float32 (n, k).

    Each score is summed in the same order.
    """
    scores = torch.empty(rows.shape, dtype=torch.float32, device=queries.device)
    step = max(1, CHUNK // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(rows), step):
        wanted = rows[start : start + step].clamp(min=0)
        part = queries[start : start + step]
        if isinstance(passages, torch.Tensor) and passages.device.type != "cpu":
            scored = _scores_on_device(part[:, None], passages[wanted].float(), similarity)
        else:
            picked = np.asarray(passages)[wanted.cpu().numpy()].astype(np.float32, copy=False)
            scored = torch.from_numpy(pair_scores(part.cpu().numpy()[:, None], picked, similarity))
        scores[start : start + step] = scored
    return scores


def _scores_on_device(
    queries: torch.Tensor, passages: torch.Tensor, similarity: Similarity
) -> torch.Tensor:
    """Compute what `pair_scores` computes, on a GPU."""
    if similarity in ("cosine", "dot"):
        return (queries * passages).sum(dim=-1)
    difference = queries - passages
    if similarity == "euclidean":
        return -difference.square().sum(dim=-1).sqrt()
    return -difference.abs().sum(dim=-1)
