"""Passages into an index of ours: parallel bulk requests of bounded size, which can be sent again
without harm.

A passage's `_id` is its row, and it is sent as `create`: one that is there already is left as it
is. So an interrupted load goes on where the server's own count of rows has gaps, and no passage is
ever there twice, not even as a deleted copy, which BM25's statistics would count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.compute as pc

from recipekit.arrays import Rows
from recipekit.component import Progress
from recipekit.engines.elasticsearch import Cluster
from recipekit.engines.elasticsearch_failures import ItemFailed, failure_of_status
from recipekit.engines.parallel import in_order
from recipekit.tables import TextTable

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

__all__ = ["load_missing"]

BLOCK: Final = 1000
"""Rows that are sent, and counted, together."""
MOST_BLOCKS: Final = 50_000
"""A search may not give more than 65,536 buckets: blocks of a larger corpus are larger."""
REQUEST_BYTES: Final = 4 * 2**20
"""Text in one request, where that is more than one passage."""
THERE_ALREADY: Final = 409
_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def load_missing(
    cluster: Cluster,
    index: str,
    passages: TextTable,
    columns: Sequence[str],
    as_indexed: Callable[[str], str],
    *,
    fresh: bool,
    concurrency: int,
    progress: Progress,
) -> None:
    """Index every passage that is not in the index yet, and make them all searchable.

    At most `concurrency` requests are on their way; the next are read from disk when one has been
    answered. `as_indexed` brings a text into the form that the index wants.

    Raises:
        ComponentError: The server fails, or refuses a passage.
    """
    size = max(BLOCK, -(-len(passages) // MOST_BLOCKS))
    held = {} if fresh else _held(cluster, index, size)
    spans = [(start, min(start + size, len(passages))) for start in range(0, len(passages), size)]
    missing = [(start, stop) for start, stop in spans if held.get(start, 0) < stop - start]
    loader = _Loader(cluster, index, passages, tuple(columns), as_indexed)
    with progress.track("elasticsearch index", total=len(passages), unit="passages") as tracker:
        tracker.advance(len(passages) - sum(stop - start for start, stop in missing))
        for rows in in_order(loader.send, missing, threads=concurrency, name="bulk"):
            tracker.advance(rows)
    cluster.ask(lambda client: client.indices.refresh(index=index), index)


def _held(cluster: Cluster, index: str, size: int) -> dict[int, int]:
    """How many passages of each block the index holds, by the block's first row."""
    cluster.ask(lambda client: client.indices.refresh(index=index), index)
    blocks = {"blocks": {"histogram": {"field": "row", "interval": size, "min_doc_count": 1}}}
    reply = cluster.ask(
        lambda client: client.search(index=index, size=0, track_total_hits=False, aggs=blocks),
        index,
    )
    return {
        int(bucket["key"]): int(bucket["doc_count"])
        for bucket in reply["aggregations"]["blocks"]["buckets"]
    }


@dataclass(frozen=True)
class _Loader:
    """Reads rows and sends them."""

    cluster: Cluster
    index: str
    passages: TextTable
    columns: tuple[str, ...]
    as_indexed: Callable[[str], str]

    def send(self, block: tuple[int, int]) -> int:
        """Index the rows of a block, the first and the one after the last; how many they are."""
        start, stop = block
        for first, last in self._requests(start, stop):
            self._send_request(np.arange(first, last))
        return stop - start

    def _requests(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of rows of at most `REQUEST_BYTES`, told by the columns' offsets alone, before any
        text is read.
        """
        block = self.passages.table.slice(start, stop - start)
        ends = np.cumsum(
            sum(pc.binary_length(block[name]).to_numpy() for name in ("title", "text"))
        )
        first = 0
        while first < len(ends):
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + REQUEST_BYTES, side="right")))
            yield start + first, start + last
            first = last

    def _send_request(self, rows: Rows) -> None:
        documents = self._documents(rows)
        pending = list(range(len(documents)))

        def attempt(client: Elasticsearch) -> None:
            # Of a request that failed in part, only that part is sent again.
            lines: Any = [b"".join(documents[at] for at in pending)]
            reply = client.bulk(
                index=self.index,
                operations=lines,
                filter_path="errors,items.*.status,items.*.error",
            ).body
            if reply["errors"]:
                outcomes = [next(iter(item.values())) for item in reply["items"]]
                failed = [
                    (at, item)
                    for at, item in zip(pending, outcomes, strict=True)
                    if not _is_there(item)
                ]
                pending[:] = [at for at, _ in failed]
                self._raise_worst(rows, failed)

        self.cluster.ask(attempt, self.index)

    def _raise_worst(self, rows: Rows, failed: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Raise what is wrong with the items of a request, what cannot be mended by asking again
        before what can.
        """
        failures = [
            (at, failure_of_status(item["status"], item.get("error"))) for at, item in failed
        ]
        if failures:
            at, failure = min(failures, key=lambda one: one[1].transient is not None)
            raise ItemFailed(failure, f"passage '{self.passages.column('id', rows[[at]])[0]}'")

    def _documents(self, rows: Rows) -> list[bytes]:
        """Two lines of a bulk request for each row."""
        if self.columns == ("text",):
            texts: Iterable[tuple[str, ...]] = zip(self.passages.texts(rows), strict=True)
        else:
            texts = zip(*(self.passages.column(name, rows) for name in self.columns), strict=True)
        prepared = (map(self.as_indexed, row) for row in texts)
        return [
            _lines(row, dict(zip(self.columns, text, strict=True)))
            for row, text in zip(rows.tolist(), prepared, strict=True)
        ]


def _lines(row: int, texts: dict[str, str]) -> bytes:
    return f'{{"create":{{"_id":"{row}"}}}}\n{_json({"row": row, **texts})}\n'.encode()


def _is_there(item: dict[str, Any]) -> bool:
    status = int(item["status"])
    return status < 300 or status == THERE_ALREADY
