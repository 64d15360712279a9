"""Rankings without some pairs: a passage with the query's own text, or its own id."""

from __future__ import annotations

import numpy as np

from recipekit.arrays import pair_keys
from recipekit.component import Hits
from recipekit.query_pairs import QueryPairs

__all__ = ["most_excluded", "without"]


def most_excluded(excluded: QueryPairs) -> int:
    """Return the most passages that are excluded for one query: search as much deeper."""
    return int(np.diff(excluded.offsets).max(initial=0))


def without(hits: Hits, excluded: QueryPairs, depth: int) -> Hits:
    """Return the `depth` best hits that are not excluded, (n, depth).

    Args:
        hits: Rankings, (n, at least depth), searched `most_excluded` deeper than needed.
        excluded: The passages to leave out, by position of the query in `hits`.
        depth: Hits per query; missing ones are padded.
    """
    n, width = hits.rows.shape
    stride = 1 + max(int(hits.rows.max(initial=0)), int(excluded.passage.max(initial=0)))
    position = np.broadcast_to(np.arange(n)[:, None], hits.rows.shape)
    keys = pair_keys(position, hits.rows, stride)
    is_out = np.isin(keys, pair_keys(excluded.query, excluded.passage, stride))
    is_out |= hits.rows < 0
    rows = np.where(is_out, np.int32(-1), hits.rows)
    scores = np.where(is_out, np.float32(-np.inf), hits.scores)
    order = np.argsort(is_out, axis=1, kind="stable")[:, :depth]
    padding = ((0, 0), (0, max(0, depth - width)))
    return Hits(
        np.pad(np.take_along_axis(rows, order, axis=1), padding, constant_values=-1),
        np.pad(np.take_along_axis(scores, order, axis=1), padding, constant_values=-np.inf),
    )
