"""Exact top-k by inner product, in tiles: never more than one block of queries by one tile of
passages in memory.

A tile is scored in float32 and its best columns are merged into the best so far. A matrix product
gives one pair's score another last bit in another tile or batch, so the few that survive are scored
once more, each in the same order of summation. Scores and ties therefore depend on the two vectors
alone: equal scores are ordered by the lower row, whatever the tiles.
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

__all__ = ["Matrix", "exact_top_k", "resident", "top_k_blocks"]

Matrix = npt.NDArray[Any] | torch.Tensor
"""Embeddings (n, dim), float32 or float16: an array, a memory map, or a tensor."""

SLACK = 16
"""Passages kept beyond the depth for the second scoring, so that rounding in the first decides
nothing at the edge.
"""
CHUNK = 1 << 20
"""Numbers that the second scoring holds at once: 4 MB, which a CPU's cache holds between gathering
and summing.
"""


def exact_top_k(
    queries: Matrix,
    passages: Matrix,
    depth: int,
    *,
    device: str = "cpu",
    tile: int | None = None,
    block: int | None = None,
    exclude: Rows | None = None,
) -> Hits:
    """The `depth` passages of highest inner product for each query, ties broken by the lower row.

    Args:
        queries: (n, dim).
        passages: (N, dim). A depth beyond N is padded with row -1 and score -inf.
        depth: How many passages per query.
        device: The torch device to score on.
        tile: Passages scored at once; by default what suits the device. It does not change the
            result.
        block: Queries scored at once, likewise.
        exclude: int64 (n,): for each query a passage row that is not returned, or -1.

    Raises:
        RunError: The embeddings hold NaN.
    """
    parts = [
        hits
        for _, hits in top_k_blocks(
            queries, passages, depth, device=device, tile=tile, block=block, exclude=exclude
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
    device: str = "cpu",
    tile: int | None = None,
    block: int | None = None,
    exclude: Rows | None = None,
) -> Iterator[tuple[int, Hits]]:
    """Like `exact_top_k`, a block of queries at a time, as (row of its first query, hits): for more
    queries than fit in memory.
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
        rows = _select(part, passages, depth + SLACK, tile, barred)
        yield start, _ranked(part, passages, rows, depth)


def resident(matrix: npt.NDArray[Any], device: str) -> Matrix:
    """The matrix on its GPU if it takes less than half of the free memory there, else itself, to be
    read in tiles.
    """
    if not device.startswith("cuda") or matrix.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return matrix
    return torch.from_numpy(np.array(matrix)).to(device)


def _rows(matrix: Matrix, start: int, stop: int, device: str) -> torch.Tensor:
    part = matrix[start:stop]
    # A memory map is read-only, which torch cannot express: np.array copies the tile.
    return (part if isinstance(part, torch.Tensor) else torch.from_numpy(np.array(part))).to(
        device, torch.float32
    )


def _select(
    queries: torch.Tensor, passages: Matrix, kept: int, tile: int, barred: torch.Tensor | None
) -> torch.Tensor:
    """Rows (n, <= kept) of the best passages by float32 score, -1 where there is none; the lower
    row of equal scores.
    """
    scores = queries.new_empty((len(queries), 0))
    rows = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    for start in range(0, len(passages), tile):
        scored = queries @ _rows(passages, start, start + tile, str(queries.device)).T
        if barred is not None:
            here = torch.nonzero((barred >= start) & (barred < start + scored.shape[1])).squeeze(1)
            scored[here, barred[here] - start] = -torch.inf
        columns = _best_columns(scored, kept)
        # Rows of a later tile are higher and stand behind, so a stable sort leaves the lower row
        # first.
        scores = torch.cat([scores, scored.gather(1, columns)], dim=1)
        rows = torch.cat([rows, columns + start], dim=1)
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :kept]
        scores, rows = scores.gather(1, order), rows.gather(1, order)
    return rows.masked_fill(scores == -torch.inf, -1)


def _best_columns(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The k best columns of each row, ascending; of equal scores the lower columns, which
    `torch.topk` does not promise.
    """
    if scores.shape[1] <= k:
        return torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    best = torch.topk(scores, k + 1, dim=1)
    columns = best.indices[:, :k]
    # Only where the last one in and the first one out are equal is the choice open: those few rows
    # are sorted whole.
    tied = (best.values[:, k - 1] == best.values[:, k]) & (best.values[:, k] > -torch.inf)
    if bool(tied.any()):
        columns[tied] = torch.sort(scores[tied], dim=1, descending=True, stable=True).indices[:, :k]
    return columns.sort(dim=1).values


def _ranked(queries: torch.Tensor, passages: Matrix, rows: torch.Tensor, depth: int) -> Hits:
    rows = rows.sort(dim=1).values
    scores = _inner_products(queries, passages, rows).masked_fill(rows < 0, -torch.inf)
    if bool(scores.isnan().any()):
        row = int(rows[scores.isnan()][0])
        raise RunError(
            f"embeddings hold NaN (passage row {row}, or a query scored against it): the encoder is broken",
            code="RK641",
        )
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :depth]
    found = Hits(
        np.full((len(rows), depth), -1, np.int32), np.full((len(rows), depth), -np.inf, np.float32)
    )
    found.rows[:, : order.shape[1]] = rows.gather(1, order).cpu().numpy()
    found.scores[:, : order.shape[1]] = scores.gather(1, order).cpu().numpy()
    return found


def _inner_products(queries: torch.Tensor, passages: Matrix, rows: torch.Tensor) -> torch.Tensor:
    """float32 (n, k): each query's inner products with its own passages, each summed in the same
    order.
    """
    scores = torch.empty(rows.shape, dtype=torch.float32, device=queries.device)
    step = max(1, CHUNK // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(rows), step):
        wanted = rows[start : start + step].clamp(min=0)
        part = queries[start : start + step]
        if isinstance(passages, torch.Tensor) and passages.device.type != "cpu":
            products = (passages[wanted].float() * part[:, None]).sum(dim=-1)
        else:
            picked = np.asarray(passages)[wanted.cpu().numpy()].astype(np.float32, copy=False)
            # einsum without optimize runs one loop over dim for each pair; BLAS would sum in an
            # order that varies with the shape.
            products = torch.from_numpy(
                np.einsum("nkd,nd->nk", picked, part.cpu().numpy(), optimize=False)
            )
        scores[start : start + step] = products
    return scores
