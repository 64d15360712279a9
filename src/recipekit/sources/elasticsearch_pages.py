"""All documents of an index as they are at one point in time, page by page, in parallel slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from recipekit.engines.elasticsearch import Cluster
from recipekit.engines.elasticsearch_failures import ItemFailed
from recipekit.engines.failures import Failure
from recipekit.errors import ComponentError, DataError
from recipekit.sources.locations import RecordLocation, Row

__all__ = ["Pages"]

KEPT: Final = "10m"
"""How long the server keeps the point in time from one request to the next."""


@dataclass(frozen=True)
class Pages:
    """What is read."""

    cluster: Cluster
    index: str
    fields: Mapping[str, str | None]
    """By what a row calls it (`_id`, `title`, `text`), the field.

    None for none, and for an `_id` that is the document's own.
    """
    where: Mapping[str, Any] | None
    size: int
    slices: int

    def rows(self) -> Iterator[Row]:
        """Every document as a row, in the same order as long as the index stays as it is.

        A page of each slice is in memory, and the next one of each on its way.

        Raises:
            ComponentError: The server fails, or gave fewer documents than it counted.
            DataError: A field holds several values, or what is no text.
        """
        with self._point_in_time() as point:
            expected = self._count(point)
            given = 0
            with ThreadPoolExecutor(self.slices, thread_name_prefix="pages") as pool:
                ahead: list[tuple[int, Future[list[dict[str, Any]]]]]
                ahead = [
                    (slice, pool.submit(self._page, point, slice, None))
                    for slice in range(self.slices)
                ]
                while ahead:
                    slice, page = ahead.pop(0)
                    hits = page.result()
                    if len(hits) == self.size:
                        ahead.append(
                            (slice, pool.submit(self._page, point, slice, hits[-1]["sort"]))
                        )
                    given += len(hits)
                    yield from map(self._row, hits)
            if given != expected:
                raise ComponentError(
                    f"{self.cluster.named(self.index)} gave {given} documents of {expected}: run again",
                    code="RK269",
                )

    @contextmanager
    def _point_in_time(self) -> Iterator[str]:
        ask = self.cluster.ask
        point = str(
            ask(
                lambda client: client.open_point_in_time(index=self.index, keep_alive=KEPT),
                self.index,
            )["id"]
        )
        try:
            yield point
        finally:
            ask(
                lambda client: client.options(ignore_status=404).close_point_in_time(id=point),
                self.index,
            )

    def _count(self, point: str) -> int:
        found = self._search(point, {"size": 0, "track_total_hits": True})
        return int(found["hits"]["total"]["value"])

    def _page(self, point: str, slice: int, after: list[Any] | None) -> list[dict[str, Any]]:
        """The hits of a slice after the one that has these sort values."""
        search: dict[str, Any] = {
            "size": self.size,
            "track_total_hits": False,
            "sort": ["_shard_doc"],
            "_source": False,
        }
        search["fields"] = sorted({name for name in self.fields.values() if name})
        if self.slices > 1:
            search["slice"] = {"id": slice, "max": self.slices}
        if after is not None:
            search["search_after"] = after
        hits: list[dict[str, Any]] = self._search(point, search)["hits"]["hits"]
        return hits

    def _search(self, point: str, search: Mapping[str, Any]) -> Any:
        pit = {"id": point, "keep_alive": KEPT}
        query = dict(self.where) if self.where else {"match_all": {}}

        def attempt(client: Any) -> Any:
            reply = client.search(
                pit=pit, query=query, allow_partial_search_results=False, **search
            )
            if reply["timed_out"] or reply["_shards"]["failed"]:
                raise ItemFailed(
                    Failure(
                        "partial",
                        f"{reply['_shards']['failed']} of {reply['_shards']['total']} shards failed",
                    )
                )
            return reply

        return self.cluster.ask(attempt, self.index)

    def _row(self, hit: Mapping[str, Any]) -> Row:
        place = RecordLocation(f"{self.cluster.place}, {hit['_index']}/{hit['_id']}")
        fields = hit.get("fields", {})
        row: dict[str, Any] = {"_id": hit["_id"], "title": ""}
        for name, field in self.fields.items():
            if field is not None:
                row[name] = self._one(fields.get(field, []), field, place)
        return place, row

    def _one(self, values: list[Any], field: str, place: RecordLocation) -> Any:
        """A field's only value, None where it has none."""
        if len(values) > 1:
            raise DataError(
                f"{place}: '{field}' holds {len(values)} values; one is wanted", code="RK304"
            )
        return values[0] if values else None
