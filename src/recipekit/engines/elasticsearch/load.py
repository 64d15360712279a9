"""Loading passages into an index with bulk requests that can be repeated without harm.

A passage's `_id` is its row, and it is sent as `create`, which leaves an existing document as it
is. An interrupted load therefore continues where the server's own count has gaps, and no passage
exists twice, not even as a deleted copy, which BM25's statistics would count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch, helpers

from recipekit.component import Progress
from recipekit.engines.connection import Connection
from recipekit.engines.elasticsearch.errors import failure_of_status
from recipekit.engines.parallel import map_in_order
from recipekit.engines.retry import PartialFailure
from recipekit.tables import TextTable

__all__ = ["load_missing"]

BLOCK_ROWS: Final = 1000
"""Rows that are sent and counted together."""
MAX_BLOCKS: Final = 50_000
"""A search may return at most 65,536 buckets: a larger corpus has larger blocks."""
READ_ROWS: Final = 100
"""Rows that a thread reads from disk at once."""
REQUEST_BYTES: Final = 4 * 2**20
REPLY_FIELDS: Final = "errors,items.*.status,items.*.error"
EXISTS: Final = 409


def load_missing(
    connection: Connection[Elasticsearch],
    index: str,
    passages: TextTable,
    columns: Sequence[str],
    prepare: Callable[[str], str],
    *,
    is_new: bool,
    concurrency: int,
    progress: Progress,
) -> None:
    """Index every passage that the index does not hold yet, and make all of them searchable.

    Raises:
        ComponentError: The server fails, or rejects a passage.
    """
    size = max(BLOCK_ROWS, -(-len(passages) // MAX_BLOCKS))
    held = {} if is_new else _rows_per_block(connection, index, size)
    blocks = [
        range(start, min(start + size, len(passages))) for start in range(0, len(passages), size)
    ]
    missing = [block for block in blocks if held.get(block.start, 0) < len(block)]

    def send(block: range) -> int:
        pending: Sequence[int] = block

        def attempt(client: Elasticsearch) -> None:
            """Send the pending rows; after a failure, only the failed ones are still pending."""
            nonlocal pending
            results = helpers.streaming_bulk(
                client,
                _documents(passages, pending, columns, prepare),
                index=index,
                chunk_size=len(pending),
                max_chunk_bytes=REQUEST_BYTES,
                raise_on_error=False,
                filter_path=REPLY_FIELDS,
            )
            failures = {}
            for row, (ok, item) in zip(pending, results, strict=True):
                reply = item["create"]
                if not ok and reply["status"] != EXISTS:
                    failures[row] = failure_of_status(reply["status"], reply.get("error"))
            pending = list(failures)
            if failures:
                row = min(failures, key=lambda row: failures[row].transient)  # permanent ones first
                name = passages.column("id", np.array([row]))[0]
                raise PartialFailure(failures[row], f"passage '{name}'")

        connection.call(attempt, index)
        return len(block)

    with progress.track("elasticsearch index", total=len(passages), unit="passages") as tracker:
        tracker.advance(len(passages) - sum(map(len, missing)))
        for rows in map_in_order(send, missing, threads=concurrency, name="bulk"):
            tracker.advance(rows)
    connection.call(lambda client: client.indices.refresh(index=index), index)


def _documents(
    passages: TextTable,
    rows: Sequence[int],
    columns: Sequence[str],
    prepare: Callable[[str], str],
) -> Iterator[dict[str, Any]]:
    """Yield the bulk action of each row; its title and text are joined if there is one column."""
    for start in range(0, len(rows), READ_ROWS):
        part = rows[start : start + READ_ROWS]
        if len(columns) == 1:
            texts: list[list[str]] = [passages.texts(part)]
        else:
            texts = [passages.column(name, part) for name in columns]
        for row, *values in zip(part, *texts, strict=True):
            fields = dict(zip(columns, map(prepare, values), strict=True))
            yield {"_op_type": "create", "_id": str(row), "row": row, **fields}


def _rows_per_block(connection: Connection[Elasticsearch], index: str, size: int) -> dict[int, int]:
    """How many passages of each block the index holds, by the block's first row."""
    connection.call(lambda client: client.indices.refresh(index=index), index)
    blocks = {"blocks": {"histogram": {"field": "row", "interval": size, "min_doc_count": 1}}}
    reply = connection.call(
        lambda client: client.search(index=index, size=0, track_total_hits=False, aggs=blocks),
        index,
    )
    buckets = reply["aggregations"]["blocks"]["buckets"]
    return {int(bucket["key"]): int(bucket["doc_count"]) for bucket in buckets}
