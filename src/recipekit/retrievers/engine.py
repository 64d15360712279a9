"""What the retrievers that search by a server share: the names and marks of indices that are ours,
and ids that become rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Ints, Rows
from recipekit.artifacts.key import key_of
from recipekit.component import Hits
from recipekit.errors import ComponentError
from recipekit.tables import TextTable

__all__ = ["PREFIX", "IdRows", "OwnershipTag", "UnknownIds", "hits_of", "mark_of"]

PREFIX: Final = "recipekit-"
"""What the names of our indices and collections begin with.

The name alone proves nothing: the mark does.
"""
MADE_BY: Final = "recipekit"


@dataclass(frozen=True)
class OwnershipTag:
    """What an index or collection that recipekit made says of itself, stored with it on the server."""

    owner: str
    """The cache that it was made for, `Context.owner`."""
    corpus: str
    """The passages that are in it, `Context.corpus`: other queries or labels over them need no
    other index.
    """
    settings: str
    """The key of everything else that decides what is in it."""
    rows: int
    """How many passages it must hold."""
    complete: bool = False
    """Set last, once what is in it has been checked."""

    @property
    def name(self) -> str:
        """The index's name.

        Caches do not share an index, so that none removes what another uses.
        """
        return f"{PREFIX}{key_of([self.owner, self.corpus, self.settings])[:24]}"

    def as_json(self) -> dict[str, Any]:
        """The mark as it is stored."""
        return {"made_by": MADE_BY, **asdict(self)}

    @classmethod
    def read(cls, stored: Any) -> OwnershipTag | None:
        """The mark in what a server has stored; None where there is none of ours."""
        if not isinstance(stored, Mapping) or stored.get("made_by") != MADE_BY:
            return None
        try:
            owner, corpus, settings = (
                str(stored[name]) for name in ("owner", "corpus", "settings")
            )
            return cls(owner, corpus, settings, int(stored["rows"]), stored["complete"] is True)
        except (KeyError, TypeError, ValueError):
            return None


def mark_of(engine: str, identity: Any, *, owner: str, corpus: str, rows: int) -> OwnershipTag:
    """The mark of an index to be made.

    Args:
        engine: `elasticsearch` or `qdrant`.
        identity: A JSON value: the settings that decide what the index gives, and what is indexed
            beside the passages.
        owner: `Context.owner`.
        corpus: `Context.corpus`.
        rows: Passages that it will hold.
    """
    return OwnershipTag(owner, corpus, key_of({"engine": engine, "identity": identity}), rows)


# Ids
# -----------------------------------------------------------------------------------------------------------------


class IdRows:
    """Which row a passage's id stands for, by binary search over the ids; no dictionary of all of
    them.

    Holds the ids themselves and 8 bytes more for each.
    """

    def __init__(self, passages: TextTable, source: str | None = None) -> None:
        """Sort the ids.

        Args:
            passages: The collected passages.
            source: The source whose ids the engine knows, where a recipe has several: collect then
                writes `source/id`.
        """
        ids = passages.table["id"].cast(pa.large_string()).combine_chunks()
        self._order: Rows = pc.sort_indices(ids).to_numpy().astype(np.int64)
        self._sorted = ids.take(pa.array(self._order))
        self._prefix = f"{source}/" if source else ""

    def of(self, ids: Sequence[str]) -> Rows:
        """Rows (n,) of some ids, -1 for those that were not collected."""
        wanted = pa.array([self._prefix + id for id in ids], pa.large_string())
        low, high = (
            np.zeros(len(wanted), np.int64),
            np.full(len(wanted), len(self._order), np.int64),
        )
        while (low < high).any():
            middle = (low + high) // 2
            # Where a search has ended, the middle may lie one past the last id; it is not moved any
            # more.
            before = pc.less(
                self._sorted.take(pa.array(np.minimum(middle, len(self._order) - 1))), wanted
            )
            goes_up = before.to_numpy(zero_copy_only=False) & (low < high)
            low, high = (
                np.where(goes_up, middle + 1, low),
                np.where(goes_up, high, np.where(low < high, middle, high)),
            )
        at = np.minimum(low, len(self._order) - 1)
        found = pc.equal(self._sorted.take(pa.array(at)), wanted).to_numpy(zero_copy_only=False)
        return np.where(found, self._order[at], -1)


@dataclass
class UnknownIds:
    """Hits of passages that were not collected: counted and dropped, and an error where they are
    too many.
    """

    place: str
    """Server and index, for the error."""
    most: float
    """The share of all hits, 0 to 1, above which it is an error."""
    hits: int = 0
    unknown: int = 0

    def add(self, ids: Sequence[str], rows: Rows) -> None:
        """Count a batch of hits: their ids, and their rows (-1 for unknown).

        Raises:
            ComponentError: More than the allowed share of all hits so far are unknown.
        """
        unknown = np.flatnonzero(rows < 0)
        self.hits += len(rows)
        self.unknown += len(unknown)
        if self.unknown > self.most * self.hits:
            example = f", '{ids[unknown[0]]}' for one" if len(unknown) else ""
            raise ComponentError(
                f"{self.place}: {self.unknown} of {self.hits} hits are passages that were not collected{example}; "
                f"max_unknown allows {self.most:.0%}. Is it an index of this corpus, and are `id_field` and `source` right?",
                code="RK251",
            )


# Hits
# ----------------------------------------------------------------------------------------------------------------


def hits_of(n_queries: int, depth: int, query: Rows, rows: Rows, scores: Floats) -> Hits:
    """Lay what an engine found out as `Hits`.

    Args:
        n_queries: Queries in the batch.
        depth: Most hits a query.
        query: Of each hit its query's position in the batch, (m,), in any order.
        rows: Its passage row, -1 for one to drop.
        scores: Its score, higher is better.
    """
    known = rows >= 0
    query, rows, scores = query[known], rows[known], scores[known].astype(np.float32)
    order = np.lexsort((rows, -scores, query))
    query, rows, scores = query[order], rows[order], scores[order]
    first = _first_of_pair(query, rows)
    query, rows, scores = query[first], rows[first], scores[first]
    starts = np.searchsorted(query, np.arange(n_queries))
    place = np.arange(len(query)) - starts[query]
    kept = place < depth
    out_rows: Ints = np.full((n_queries, depth), -1, np.int32)
    out_scores: Floats = np.full((n_queries, depth), -np.inf, np.float32)
    out_rows[query[kept], place[kept]] = rows[kept]
    out_scores[query[kept], place[kept]] = scores[kept]
    return Hits(out_rows, out_scores)


def _first_of_pair(query: Rows, rows: Rows) -> Bools:
    """Which hits are the first of their (query, row): an index that others filled may hold a
    passage twice.
    """
    pairs = np.stack([query, rows], axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    kept: Bools = np.zeros(len(query), np.bool_)
    kept[first] = True
    return kept
