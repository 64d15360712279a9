"""Scores of pairs of texts: into a memory-mapped array that survives a kill.

```
<folder>/scores             raw float32 (n,), in the order of the pairs
<folder>/scratch/done       which blocks are done; removed when the artifact is committed
```
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.arrays import Floats, Rows
from recipekit.component import Progress, Ranks
from recipekit.encoding.block_files import BlockFile

__all__ = ["open_scores", "score_pairs"]

PAIRS_PER_BLOCK = 2048
"""Pairs that are sorted by length together, and the most that a kill costs each rank."""


def score_pairs(
    score: Callable[[Rows, Rows], Floats],
    query: Rows,
    passage: Rows,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
    *,
    encoder: str,
) -> dict[str, Any]:
    """Score pairs into `folder`, continuing where an earlier call was killed.

    Rank r of R scores every R-th block. All ranks call this together, and return when all blocks
    are done.

    Args:
        score: Returns the scores of some pairs, given their queries and passages as rows. Ranks
            call it independently of each other.
        query: The query of each pair, (n,).
        passage: The passage of each pair, (n,).
        folder: Where the scores are written. It may hold an earlier attempt's work for the same
            pairs.
        ranks: The processes that call this together.
        progress: Where the work is shown.
        encoder: The encoder's name, for the progress.

    Returns:
        The summary: `pairs`, how many all ranks `scored` in this call, and its `seconds`.
    """
    started = time.monotonic()
    starts = range(0, len(query), PAIRS_PER_BLOCK)
    slices = [slice(start, min(len(query), start + PAIRS_PER_BLOCK)) for start in starts]
    sizes = [rows.stop - rows.start for rows in slices]
    scores = BlockFile(
        folder / "scores",
        (len(query),),
        np.dtype(np.float32),
        blocks=slices,
        marks=folder / "scratch" / "done",
    )
    left = scores.open(ranks)
    total = sum(sizes[block] for block in left[ranks.rank])
    with progress.track(f"score pairs with {encoder}", total=total, unit="pairs") as tracker:
        for turn in zip_longest(*left):
            block = turn[ranks.rank]
            found = np.empty(0, dtype=np.float32)
            if block is not None:
                found = score(query[slices[block]], passage[slices[block]])
                tracker.advance(len(found))
            scores.write(turn, found, ranks)
    ranks.barrier()
    summary = {
        "pairs": len(query),
        "scored": sum(sizes[block] for block in chain(*left)),
        "seconds": round(time.monotonic() - started, 3),
    }
    if ranks.is_main:
        progress.log("scored", encoder=encoder, **summary)
    return summary


def open_scores(folder: Path) -> Floats:
    """Map the scores that `score_pairs` wrote, float32 (n,)."""
    file = folder / "scores"
    if not file.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=np.float32)
    scores: Floats = np.memmap(file, np.float32, "r")
    return scores
