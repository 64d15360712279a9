"""Search that ranks share: each of them searches with a part of the queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recipekit.component import Hits, Ranks

__all__ = ["share_queries"]


def share_queries(
    search: Callable[[slice], Hits], n_queries: int, depth: int, ranks: Ranks
) -> Hits:
    """Search with the queries of all ranks; all ranks call it together, and each returns all hits.

    The hits are those of one search with all queries, since a query's hits do not depend on others.

    Args:
        search: Searches with the queries at these positions, which are never none.
        n_queries: How many queries there are.
        depth: How many passages `search` returns per query.
        ranks: The processes that call this together.
    """
    first, end = (n_queries * (ranks.rank + i) // ranks.count for i in range(2))
    own = Hits(np.empty((0, depth), np.int32), np.empty((0, depth), np.float32))
    if first < end:
        own = search(slice(first, end))
    if ranks.count == 1:
        return own
    rows, scores = (
        torch.cat(ranks.gather(torch.from_numpy(values).to(ranks.device))).cpu().numpy()
        for values in (own.rows, own.scores)
    )
    return Hits(rows, scores)
