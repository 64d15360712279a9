"""Reading all documents of an index at one point in time, in parallel slices."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from elasticsearch import Elasticsearch

from recipekit.engines.connection import Connection
from recipekit.engines.elasticsearch.errors import failure_of_shards
from recipekit.engines.retry import PartialFailure
from recipekit.errors import ComponentError

__all__ = ["scan"]

KEEP_ALIVE: Final = "10m"
"""How long the server keeps the point in time from one request to the next."""

Hit = Mapping[str, Any]


def scan(
    connection: Connection[Elasticsearch],
    index: str,
    *,
    fields: Sequence[str],
    filter: Mapping[str, Any] | None,
    page_size: int,
    slices: int,
) -> Iterator[Hit]:
    """Yield every matching document, in an order that stays the same while the index does.

    One page of each slice is in memory while the next one is fetched. (`helpers.scan` reads a
    scroll in one thread, and does not see a page that is missing.)

    Args:
        connection: The cluster.
        index: An index or alias.
        fields: Fields whose values are returned with each hit.
        filter: A query that documents must match; None for all documents.
        page_size: Documents per request.
        slices: Parallel slices.

    Raises:
        ComponentError: The server fails, or returns fewer documents than it counted.
    """
    query = {"bool": {"filter": [filter]}} if filter else {"match_all": {}}
    with _point_in_time(connection, index) as point:
        read = _Scan(connection, index, point, query, list(fields), page_size, slices)
        expected, returned = read.count(), 0
        with ThreadPoolExecutor(slices, thread_name_prefix="scan") as pool:
            pages: deque[tuple[int, Future[list[Hit]]]] = deque(
                (number, pool.submit(read.page, number, None)) for number in range(slices)
            )
            while pages:
                number, page = pages.popleft()
                hits = page.result()
                if len(hits) == page_size:
                    pages.append((number, pool.submit(read.page, number, hits[-1]["sort"])))
                returned += len(hits)
                yield from hits
        if returned != expected:
            raise ComponentError(
                f"{connection.named(index)} returned {returned} of {expected} documents: run again",
                code="RK269",
            )


@dataclass(frozen=True)
class _Scan:
    """Reads the documents that match a query at a point in time."""

    connection: Connection[Elasticsearch]
    index: str
    point: str
    """The id of the point in time."""
    query: Mapping[str, Any]
    fields: list[str]
    page_size: int
    slices: int

    def count(self) -> int:
        """Return how many documents match."""
        total: int = self._search(size=0, track_total_hits=True)["total"]["value"]
        return total

    def page(self, number: int, after: Any) -> list[Hit]:
        """Return a page of slice `number`: the first one, or the one after a document's `sort`."""
        options: dict[str, Any] = {"fields": self.fields, "search_after": after}
        if self.slices > 1:
            options["slice"] = {"id": number, "max": self.slices}
        hits: list[Hit] = self._search(
            size=self.page_size, sort=["_shard_doc"], track_total_hits=False, **options
        )["hits"]
        return hits

    def _search(self, **options: Any) -> Any:
        def attempt(client: Elasticsearch) -> Any:
            reply = client.search(
                pit={"id": self.point, "keep_alive": KEEP_ALIVE},
                query=self.query,
                allow_partial_search_results=False,
                source=False,
                **options,
            )
            failure = failure_of_shards(reply.body)
            if failure is not None:
                raise PartialFailure(failure)
            return reply

        return self.connection.call(attempt, self.index)["hits"]


@contextmanager
def _point_in_time(connection: Connection[Elasticsearch], index: str) -> Iterator[str]:
    point = connection.call(
        lambda client: client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE), index
    )["id"]
    try:
        yield point
    finally:
        connection.try_call(lambda client: client.close_point_in_time(id=point), index)
