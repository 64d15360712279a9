"""Searching a collection in parallel batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from recipekit.component import Embeddings, Hits, QueryBatch, Retriever
from recipekit.engines.connection import Connection
from recipekit.engines.hits import ExternalIds, assemble_hits
from recipekit.engines.parallel import map_in_order
from recipekit.engines.qdrant.settings import SearchSettings
from recipekit.errors import ComponentError
from recipekit.records import Similarity

__all__ = ["QdrantRetriever"]

Answer = tuple[list[Any], list[float]]
"""The ids and the scores of a query's hits, best first."""

SLACK: Final = 4
"""Hits requested beyond the depth, so that the lower row wins among equal scores at the edge."""


@dataclass
class QdrantRetriever(Retriever):
    """Searches one collection for the passages nearest to the queries' embeddings."""

    connection: Connection[QdrantClient]
    collection: str
    queries: Embeddings
    """Embeddings of the queries that are searched."""
    rows: int
    """Passages that were collected."""
    settings: SearchSettings
    query_batch_size: int
    concurrency: int
    use_grpc: bool
    ids: ExternalIds | None = None
    """Ids of an existing collection; in recipekit's own, ids are rows."""
    id_field: str | None = None
    """The payload field with the ids of an existing collection; None for the points' own ids."""
    vector_name: str | None = None
    measured_recall: float | None = None
    """Recall against exact search, if it was measured."""
    exact_fallbacks: int = 0
    """Queries whose approximate list was too short, and which were then searched exactly."""

    @property
    def similarity(self) -> Similarity:
        """How vectors are compared, as the encoder declares it."""
        return self.queries.similarity

    @property
    def counts(self) -> dict[str, Any]:
        """Figures for mining's summary."""
        counts: dict[str, Any] = {
            "similarity": self.similarity,
            "exact": self.settings.exact,
        }
        if self.measured_recall is not None:
            counts["recall_against_exact"] = round(self.measured_recall, 4)
        if self.exact_fallbacks:
            counts["exact_fallbacks"] = self.exact_fallbacks
        if self.ids is not None:
            counts |= {"hits": self.ids.hits, "unknown": self.ids.unknown}
        return counts

    @property
    def index_bytes(self) -> int | None:
        """Bytes of the vectors of an existing collection, 4 for each number, without its graph.

        0 for recipekit's own collection, whose vectors are those of its embeddings.
        """
        if self.ids is None:
            return 0
        info = self.connection.call(
            lambda client: client.get_collection(self.collection), self.collection
        )
        return int(info.points_count or 0) * int(self.queries.matrix.shape[1]) * 4 or None

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages nearest to each query's embedding; `queries.texts` is not read.

        Raises:
            ComponentError: The server fails, or recipekit's own collection returns too few hits.
        """
        vectors = np.asarray(self.queries.take(queries.rows), np.float32)
        return self.nearest(vectors, depth, exact=self.settings.exact)

    def nearest(self, vectors: npt.NDArray[np.float32], depth: int, *, exact: bool) -> Hits:
        """The passages nearest to each vector (n, dim), ties to the lower row."""
        limit = depth + SLACK
        if self.ids is None:
            limit = min(limit, self.rows)
        params = self.settings.params(limit, exact=exact)
        batches = map_in_order(
            lambda start: self._request(
                vectors[start : start + self.query_batch_size], limit, params
            ),
            range(0, len(vectors), self.query_batch_size),
            threads=self.concurrency,
            name="qdrant",
        )
        found = [answer for batch in batches for answer in batch]
        query = np.repeat(np.arange(len(found)), [len(scores) for _, scores in found])
        ids = [id for ids, _ in found for id in ids]
        scores = np.array([score for _, scores in found for score in scores], np.float32)
        if self.similarity in ("euclidean", "manhattan"):
            scores = -scores  # Qdrant returns distances
        rows = self.ids.rows(list(map(str, ids))) if self.ids else np.array(ids, np.int64)
        hits = assemble_hits(len(vectors), depth, query, rows, scores)
        return hits if self.ids else self._completed(vectors, hits, exact=exact)

    def _request(
        self, vectors: npt.NDArray[np.float32], limit: int, params: models.SearchParams
    ) -> list[Answer]:
        requests = [
            models.QueryRequest(
                query=vector,
                using=self.vector_name,
                limit=limit,
                params=params,
                with_payload=[self.id_field] if self.id_field else False,
            )
            for vector in vectors.tolist()
        ]
        send = self._send_by_grpc if self.use_grpc and self.ids is None else self._send
        answers = self.connection.call(lambda client: send(client, requests), self.collection)
        if len(answers) != len(requests):
            raise ComponentError(
                f"{self.connection.named(self.collection)} answered {len(answers)} of "
                f"{len(requests)} queries of a batch",
                code="RK269",
            )
        return answers

    def _send(self, client: QdrantClient, requests: list[models.QueryRequest]) -> list[Answer]:
        return [
            ([self._id(point) for point in reply.points], [point.score for point in reply.points])
            for reply in client.query_batch_points(self.collection, requests=requests)
        ]

    def _send_by_grpc(
        self, client: QdrantClient, requests: list[models.QueryRequest]
    ) -> list[Answer]:
        # Not client.query_batch_points(), which spends half of the whole time on models of hits.
        queries = [RestToGrpc.convert_query_request(one, self.collection) for one in requests]
        replies = client.grpc_points.QueryBatch(
            grpc.QueryBatchPoints(collection_name=self.collection, query_points=queries),
            timeout=client.init_options["timeout"],
        ).result
        return [
            ([point.id.num for point in reply.result], [point.score for point in reply.result])
            for reply in replies
        ]

    def _id(self, point: models.ScoredPoint) -> str | int:
        """The id of a hit's passage."""
        if self.id_field is None:
            return str(point.id)
        value = (point.payload or {}).get(self.id_field)
        if not isinstance(value, str | int):
            raise ComponentError(
                f"{self.connection.named(self.collection)}: the payload of point {point.id} has no "
                f"'{self.id_field}'; correct `id_field`",
                code="RK269",
            )
        return value

    def _completed(self, vectors: npt.NDArray[np.float32], hits: Hits, *, exact: bool) -> Hits:
        """Search exactly for lists that are too short: a graph may not reach every passage."""
        depth = hits.rows.shape[1]
        expected = min(depth, self.rows)
        found = (hits.rows >= 0).sum(axis=1)
        short = np.flatnonzero(found < expected)
        if not len(short):
            return hits
        if exact:
            raise ComponentError(
                f"{self.connection.named(self.collection)} returned {found.min()} instead of "
                f"{expected} hits, although {self.rows} passages were loaded: it was changed during"
                " the search; run again",
                code="RK264",
            )
        self.exact_fallbacks += len(short)
        again = self.nearest(vectors[short], depth, exact=True)
        hits.rows[short], hits.scores[short] = again.rows, again.scores
        return hits
