"""Searching an index with `_msearch`: any text is a bag of words, and no list is short silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch

from recipekit.component import Hits, Progress, QueryBatch, Retriever
from recipekit.engines.connection import Connection
from recipekit.engines.elasticsearch.errors import clause_limit, failure_of_shards
from recipekit.engines.elasticsearch.existing import fingerprint
from recipekit.engines.hits import ExternalIds, assemble_hits
from recipekit.engines.parallel import map_in_order
from recipekit.engines.retry import PartialFailure
from recipekit.errors import ComponentError

__all__ = ["ElasticsearchRetriever", "SearchTarget"]

REPLY_FIELDS: Final = [
    f"responses.{name}"
    for name in ("status", "error", "timed_out", "_shards", "hits.hits.sort", "hits.hits._id",
                 "hits.hits._score", "hits.hits.fields")
]  # fmt: skip
HEADER: Final = {
    "search_type": "dfs_query_then_fetch",  # statistics of all shards
    "preference": "recipekit",  # the same copy of a shard answers every time
    "allow_partial_search_results": False,
}


@dataclass(frozen=True)
class SearchTarget:
    """What is searched."""

    index: str
    fields: Sequence[str]
    rows: int
    """Passages that were collected."""
    prepare: Callable[[str], str] = str
    """Applied to each query, as to the passages when they were indexed."""
    ids: ExternalIds | None = None
    """Ids of an existing index; None for recipekit's own, whose documents have their rows."""
    id_field: str | None = None
    """Where an existing index stores its ids; None for `_id`."""
    fingerprint: Any = None
    """The state of an existing index when it was opened; it must not change during a run."""

    def body(self, text: str, size: int) -> dict[str, Any]:
        """The search for one text: a bag of words, scores summed over the fields."""
        words = {"query": text, "auto_generate_synonyms_phrase_query": False}
        if len(self.fields) == 1:
            query: dict[str, Any] = {"match": {self.fields[0]: words}}
        else:
            several = {**words, "fields": list(self.fields), "type": "most_fields"}
            query = {"multi_match": several}
        search = {"query": query, "size": size, "track_total_hits": False, "_source": False}
        if self.ids is None:
            return {**search, "sort": ["_score", {"row": "asc"}], "stored_fields": "_none_"}
        return {**search, "fields": [self.id_field]} if self.id_field else search


@dataclass(frozen=True)
class ElasticsearchRetriever(Retriever):
    """Searches one index."""

    connection: Connection[Elasticsearch]
    target: SearchTarget
    query_batch_size: int
    concurrency: int
    progress: Progress

    @property
    def counts(self) -> dict[str, Any]:
        """Hits and unknown hits in an existing index."""
        ids = self.target.ids
        return {"hits": ids.hits, "unknown": ids.unknown} if ids else {}

    @property
    def index_bytes(self) -> int | None:
        """Bytes of the index on disk, without replicas; None if the server does not report them."""
        store = "_all.primaries.store.size_in_bytes"
        index = self.target.index
        try:
            reply = self.connection.call(
                lambda client: client.indices.stats(index=index, metric="store", filter_path=store)
            )
            return int(reply["_all"]["primaries"]["store"]["size_in_bytes"])
        except (ComponentError, KeyError):  # a key for searching alone is refused
            return None

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages of highest BM25 score; a query without a word of the index has none.

        Raises:
            ComponentError: The server fails, too many hits are unknown, or an existing index
                changed.
        """
        size = depth if self.target.ids else min(depth, self.target.rows)
        starts = range(0, len(queries), self.query_batch_size)
        batches = map_in_order(
            lambda start: self._request(queries.texts[start : start + self.query_batch_size], size),
            starts,
            threads=self.concurrency,
            name="msearch",
        )
        counts, rows, scores, truncated = [], [], [], 0
        for hits, batch_truncated in batches:
            counts += [len(found) for found in hits]
            batch_rows, batch_scores = self._read([hit for found in hits for hit in found])
            rows.append(batch_rows)
            scores.append(batch_scores)
            truncated += batch_truncated
        self._check_unchanged()
        if truncated:
            self.progress.warn(
                f"{self.connection.server}: {truncated} of {len(queries)} queries have more words "
                "than the server accepts in one query and were truncated"
            )
        query = np.repeat(np.arange(len(queries)), counts)
        if not rows:
            return assemble_hits(0, depth, query, query, np.empty(0, np.float32))
        return assemble_hits(
            len(queries), depth, query, np.concatenate(rows), np.concatenate(scores)
        )

    def _check_unchanged(self) -> None:
        index, before = self.target.index, self.target.fingerprint
        if before is not None and fingerprint(self.connection, index) != before:
            raise ComponentError(
                f"{self.connection.named(index)} changed while it was searched: run again",
                code="RK269",
            )

    def _request(
        self, queries: Sequence[str], size: int
    ) -> tuple[list[Sequence[Mapping[str, Any]]], int]:
        """The hits of each query, and how many queries were truncated."""
        texts = [self.target.prepare(text) for text in queries]
        hits: list[Sequence[Mapping[str, Any]]] = [[]] * len(texts)
        pending, truncated = set(range(len(texts))), set()

        def attempt(client: Elasticsearch) -> None:
            """Search for the pending texts; after a failure, only the failed ones are pending."""
            while pending:
                order = sorted(pending)
                searches = [part for n in order for part in self._search(texts[n], size)]
                replies = client.msearch(
                    index=self.target.index, searches=searches, filter_path=REPLY_FIELDS
                )["responses"]
                failures = []
                for n, reply in zip(order, replies, strict=True):
                    failure = failure_of_shards(reply)
                    if failure is None:
                        hits[n] = reply.get("hits", {}).get("hits", [])
                        pending.discard(n)
                    elif failure.kind == "clauses" and texts[n]:
                        limit = clause_limit(failure) // len(self.target.fields)
                        texts[n] = _truncated(texts[n], limit)
                        truncated.add(n)
                    else:
                        failures.append(failure)
                if failures:
                    raise PartialFailure(min(failures, key=lambda failure: failure.transient))

        self.connection.call(attempt, self.target.index)
        return hits, len(truncated)

    def _search(self, text: str, size: int) -> Iterator[Mapping[str, Any]]:
        yield HEADER
        yield self.target.body(text, size)

    def _read(self, hits: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
        """Passage rows (m,), -1 for unknown ones, and scores (m,)."""
        if self.target.ids is None:
            values = np.array([hit["sort"] for hit in hits], np.float64).reshape(-1, 2)
            return values[:, 1].astype(np.int64), values[:, 0].astype(np.float32)
        rows = self.target.ids.rows([self._id(hit) for hit in hits])
        return rows, np.array([hit["_score"] for hit in hits], np.float32)

    def _id(self, hit: Mapping[str, Any]) -> str:
        field = self.target.id_field
        if field is None:
            return str(hit["_id"])
        values = hit.get("fields", {}).get(field, [])
        if len(values) != 1:
            raise ComponentError(
                f"{self.connection.named(self.target.index)}, document '{hit.get('_id')}': field "
                f"'{field}' (`id_field`) has {len(values)} values instead of one",
                code="RK269",
            )
        return str(values[0])


def _truncated(text: str, limit: int) -> str:
    """The first words of a text, or its first half if it has no more words than the limit."""
    words = text.split()
    return " ".join(words[:limit]) if len(words) > limit else text[: len(text) // 2]
