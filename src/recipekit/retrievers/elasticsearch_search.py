"""Searching an Elasticsearch index.

`_msearch` in batches, several at once. Any text is just text, and no list is silently short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recipekit.arrays import Floats, Rows
from recipekit.component import Hits, Progress, QueryBatch, Retriever
from recipekit.engines.elasticsearch import Cluster, index_fingerprint
from recipekit.engines.elasticsearch_failures import ItemFailed, failure_of_status
from recipekit.engines.failures import Failure
from recipekit.engines.parallel import in_order
from recipekit.errors import ComponentError
from recipekit.retrievers.engine import IdRows, UnknownIds, hits_of

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

__all__ = ["ElasticsearchRetriever", "ExistingIds", "Target"]

REQUEST_BYTES: Final = 4 * 2**20
"""Text in one request, where that is more than one query."""
WINDOW: Final = 10_000
"""The deepest search that an index allows, unless it says otherwise."""
KEPT: Final = ",".join(
    f"responses.{name}"
    for name in (
        "status",
        "error",
        "timed_out",
        "_shards",
        "hits.hits.sort",
        "hits.hits._id",
        "hits.hits._score",
        "hits.hits.fields",
    )
)
"""What is sent back of each reply."""


@dataclass(frozen=True)
class ExistingIds:
    """How the ids in an index that others filled become rows."""

    rows: IdRows
    unknown: UnknownIds
    field: str | None
    """Where the id stands; None for `_id`."""


@dataclass(frozen=True)
class Target:
    """What is searched."""

    index: str
    fields: Sequence[str]
    rows: int
    """Passages that were collected."""
    ids: ExistingIds | None = None
    """None for an index of ours, whose documents know their rows."""
    as_indexed: Callable[[str], str] = str
    """Brings a query into the form that the passages were indexed in."""

    def header(self) -> bytes:
        """The first line of a search.

        Statistics are those of all shards; and always the same copy of a shard answers.
        """
        header = {
            "search_type": "dfs_query_then_fetch",
            "preference": "recipekit",
            "allow_partial_search_results": False,
        }
        return json.dumps(header).encode() + b"\n"

    def body(self, text: str, depth: int) -> bytes:
        """The second line.

        `text` as a bag of words in each field, scores summed over the fields.
        """
        query: dict[str, Any]
        text = self.as_indexed(text)
        if len(self.fields) == 1:
            query = {
                "match": {
                    self.fields[0]: {"query": text, "auto_generate_synonyms_phrase_query": False}
                }
            }
        else:
            several = {
                "query": text,
                "fields": list(self.fields),
                "type": "most_fields",
                "auto_generate_synonyms_phrase_query": False,
            }
            query = {"multi_match": several}
        search: dict[str, Any] = {
            "query": query,
            "size": depth,
            "track_total_hits": False,
            "_source": False,
        }
        if self.ids is None:
            search |= {"sort": ["_score", {"row": "asc"}], "stored_fields": "_none_"}
        elif self.ids.field is not None:
            search["fields"] = [self.ids.field]
        return json.dumps(search).encode() + b"\n"


@dataclass(frozen=True)
class _Found:
    """What one request found: hits per query, and of all hits, in order, score, row (-1 for
    unknown) and the id that others gave.
    """

    counts: Rows
    scores: Floats
    rows: Rows
    ids: Sequence[str]
    cut: int
    """Queries that were cut at their end, because they have more words than the server takes."""


@dataclass(frozen=True)
class ElasticsearchRetriever(Retriever):
    """Searches one index."""

    cluster: Cluster
    target: Target
    batch: int
    """Queries in one request."""
    concurrency: int
    progress: Progress
    fingerprint: Any = None
    """Of an index that others own, when it was opened: it may not change while it is searched."""

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages of highest BM25 score; a query without a word of the index has none.

        Raises:
            ComponentError: The server fails or answers in part, too many hits are unknown, or the
                index has changed.
        """
        size = min(depth, self.target.rows) if self.target.ids is None else depth
        self._check_window(size)
        spans = _spans(queries.texts, self.batch)
        found = list(
            in_order(
                lambda span: self._request(queries.texts[span], size),
                spans,
                threads=self.concurrency,
                name="msearch",
            )
        )
        if (
            self.fingerprint is not None
            and index_fingerprint(self.cluster, self.target.index) != self.fingerprint
        ):
            raise ComponentError(
                f"{self.cluster.named(self.target.index)} changed while it was searched: run again",
                code="RK269",
            )
        if cut := sum(part.cut for part in found):
            limit = "more words than the server takes in one query"
            self.progress.warn(
                f"{self.cluster.place}: queries with {limit}, cut at their end: {cut} of {len(queries)}"
            )
        return self._hits(found, len(queries), depth)

    def _check_window(self, size: int) -> None:
        if size <= WINDOW:
            return
        index = self.target.index
        settings = self.cluster.ask(
            lambda client: client.indices.get_settings(index=index, name="index.max_result_window"),
            index,
        ).body
        windows = [
            int(one["settings"].get("index", {}).get("max_result_window", WINDOW))
            for one in settings.values()
        ]
        window = min(windows, default=WINDOW)
        if size <= window:
            return
        if self.target.ids is not None:
            raise ComponentError(
                f"{self.cluster.named(index)} gives at most {window} hits a query (index.max_result_window): lower `depth`",
                code="RK267",
            )
        self.cluster.ask(
            lambda client: client.indices.put_settings(
                index=index, settings={"index.max_result_window": size}
            ),
            index,
        )

    def _request(self, texts: Sequence[str], size: int) -> _Found:
        """Search for some texts in one request."""
        asked, found, pending = list(texts), _nothing(len(texts)), list(range(len(texts)))

        def attempt(client: Elasticsearch) -> None:
            while pending:  # of a request that failed in part, only that part is asked again
                replies = client.msearch(
                    index=self.target.index,
                    searches=self._lines(asked, pending, size),
                    filter_path=KEPT,
                )["responses"]
                failures: dict[int, Failure] = {}
                for at, reply in zip(pending, replies, strict=True):
                    failure = _failure(reply)
                    if failure is None:
                        found[at] = reply.get("hits", {}).get("hits", [])
                    else:
                        failures[at] = failure
                pending[:] = failures
                lasting = [
                    failure
                    for at, failure in failures.items()
                    if not (failure.clauses and asked[at])
                ]
                for at, failure in failures.items():
                    if failure.clauses:
                        asked[at] = _shortened(
                            asked[at], failure.clauses // len(self.target.fields)
                        )
                if lasting:
                    raise ItemFailed(
                        min(lasting, key=lambda failure: failure.transient is not None)
                    )

        self.cluster.ask(attempt, self.target.index)
        return self._found(
            found, cut=sum(sent is not text for sent, text in zip(asked, texts, strict=True))
        )

    def _lines(self, texts: Sequence[str], rows: Sequence[int], size: int) -> Any:
        header = self.target.header()
        return [b"".join(header + self.target.body(texts[at], size) for at in rows)]

    def _found(self, found: Sequence[Sequence[Mapping[str, Any]]], cut: int) -> _Found:
        counts = np.array([len(hits) for hits in found])
        hits = [hit for part in found for hit in part]
        if self.target.ids is None:
            scores_rows = np.array([hit["sort"] for hit in hits], np.float64).reshape(-1, 2)
            return _Found(
                counts,
                scores_rows[:, 0].astype(np.float32),
                scores_rows[:, 1].astype(np.int64),
                [],
                cut,
            )
        ids = [self._id(hit, self.target.ids.field) for hit in hits]
        return _Found(
            counts,
            np.array([hit["_score"] for hit in hits], np.float32),
            self.target.ids.rows.of(ids),
            ids,
            cut,
        )

    def _hits(self, found: Sequence[_Found], n: int, depth: int) -> Hits:
        if not found:
            return hits_of(n, depth, *(np.empty(0, np.int64),) * 2, np.empty(0, np.float32))
        if self.target.ids is not None:
            for part in found:
                self.target.ids.unknown.add(part.ids, part.rows)
        counts, rows, scores = (
            np.concatenate([getattr(part, name) for part in found])
            for name in ("counts", "rows", "scores")
        )
        return hits_of(n, depth, np.repeat(np.arange(n), counts), rows, scores)

    def _id(self, hit: Mapping[str, Any], field: str | None) -> str:
        if field is None:
            return str(hit["_id"])
        values = hit.get("fields", {}).get(field, [])
        if len(values) != 1:
            where = f"{self.cluster.named(self.target.index)}, document '{hit.get('_id')}'"
            raise ComponentError(
                f"{where}: {len(values)} values in '{field}' (`id_field`); one is wanted",
                code="RK269",
            )
        return str(values[0])


def _nothing(n: int) -> list[list[dict[str, Any]]]:
    return [[] for _ in range(n)]


def _spans(texts: Sequence[str], most: int) -> Iterator[slice]:
    """Ranges of at most `most` texts, and of `REQUEST_BYTES` where that is more than one."""
    start = size = 0
    for at, text in enumerate(texts):
        if at > start and (at - start == most or size + len(text) > REQUEST_BYTES):
            yield slice(start, at)
            start, size = at, 0
        size += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def _failure(reply: Mapping[str, Any]) -> Failure | None:
    """What is wrong with the reply to one search."""
    if "error" in reply:
        return failure_of_status(int(reply["status"]), reply["error"])
    if reply.get("timed_out"):
        return Failure("partial", "a search timed out on the server")
    shards = reply.get("_shards", {})
    if shards.get("failed"):
        why = failure_of_status(int(reply["status"]), shards.get("failures"))
        return Failure(
            "partial", f"{shards['failed']} of {shards.get('total')} shards failed: {why.text}"
        )
    return None


def _shortened(text: str, most: int) -> str:
    """The beginning of a text, cut where an encoder cuts it: its first `most` words, or its first
    half where they were too much.
    """
    words = text.split()
    return " ".join(words[:most]) if len(words) > most else text[: len(text) // 2]
