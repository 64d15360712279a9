"""Searching a Qdrant collection, in batches side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from recipekit.arrays import Floats, Rows
from recipekit.component import Hits, QueryBatch, Retriever
from recipekit.engines.parallel import in_order
from recipekit.engines.qdrant import QdrantServer
from recipekit.errors import ComponentError
from recipekit.retrievers.engine import IdRows, UnknownIds, hits_of
from recipekit.retrievers.qdrant_settings import Hnsw, Quantization, search_params

if TYPE_CHECKING:
    from qdrant_client import models

__all__ = ["Found", "Points", "QdrantRetriever", "ServerPoints", "recall"]

SLACK: Final = 4
"""Passages asked for beyond the depth, so that of equal scores at the edge the lower row is known.
"""


@dataclass(frozen=True)
class Found:
    """Hits of some queries, in any order: each one's query, int64 (m,), the point's id, and its
    score, float32 (m,).
    """

    query: Rows
    ids: Sequence[Any]
    scores: Floats


class Points(Protocol):
    """Vectors that can be searched: on a server, or in this process."""

    @property
    def place(self) -> str:
        """How errors call it."""

    def nearest(self, vectors: npt.NDArray[np.float32], limit: int, *, exact: bool) -> Found:
        """The points nearest to each vector."""


@dataclass(frozen=True)
class ServerPoints:
    """A collection on a server."""

    server: QdrantServer
    collection: str
    vector: str | None
    id_field: str | None
    """The field of the payload that holds a passage's id; None where the point's own id is it."""
    hnsw: Hnsw
    quantization: Quantization | None
    batch: int
    """Queries in a request."""
    concurrency: int

    @property
    def place(self) -> str:
        """Server and collection."""
        return self.server.named(self.collection)

    def nearest(self, vectors: npt.NDArray[np.float32], limit: int, *, exact: bool) -> Found:
        """The points nearest to each vector (n, dim).

        Raises:
            ComponentError: The server failed for good, or a point lacks its id.
        """
        params = search_params(self.hnsw, self.quantization, limit, exact=exact)
        ask = self._ask_grpc if self.server.address.protocol == "grpc" else self._ask_rest

        def search(start: int) -> list[Sequence[tuple[Any, float]]]:
            part = vectors[start : start + self.batch].tolist()
            answers = self.server.ask(
                lambda client: ask(client, part, limit, params), self.collection
            )
            if len(answers) != len(part):
                raise ComponentError(
                    f"{self.place} answered {len(answers)} of {len(part)} queries of a batch",
                    code="RK269",
                )
            return answers

        batches = in_order(
            search, range(0, len(vectors), self.batch), threads=self.concurrency, name="qdrant"
        )
        return _found([answer for batch in batches for answer in batch])

    def _ask_rest(
        self, client: Any, vectors: list[list[float]], limit: int, params: models.SearchParams
    ) -> list[Any]:
        from qdrant_client import models

        payload = [self.id_field] if self.id_field else False
        requests = [
            models.QueryRequest(
                query=vector, using=self.vector, limit=limit, params=params, with_payload=payload
            )
            for vector in vectors
        ]
        answers = client.query_batch_points(self.collection, requests=requests)
        if self.id_field is None:
            return [[(point.id, point.score) for point in answer.points] for answer in answers]
        return [
            [(self._id_in(point.payload, point.id), point.score) for point in answer.points]
            for answer in answers
        ]

    def _ask_grpc(
        self, client: Any, vectors: list[list[float]], limit: int, params: models.SearchParams
    ) -> list[Any]:
        from qdrant_client import grpc
        from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

        payload = RestToGrpc.convert_with_payload_interface(
            [self.id_field] if self.id_field else False
        )
        converted = RestToGrpc.convert_search_params(params)
        requests = [
            grpc.QueryPoints(
                collection_name=self.collection,
                query=grpc.Query(nearest=grpc.VectorInput(dense=grpc.DenseVector(data=vector))),
                using=self.vector, limit=limit, params=converted, with_payload=payload,
            )
            for vector in vectors
        ]  # fmt: skip
        asked = grpc.QueryBatchPoints(collection_name=self.collection, query_points=requests)
        answers = client.grpc_points.QueryBatch(
            asked, timeout=client.init_options["timeout"]
        ).result
        # Not through the client's query_batch_points(), which makes a pydantic model of every hit:
        # half of the whole time.
        if self.id_field is None:
            return [
                [(point.id.uuid or point.id.num, point.score) for point in answer.result]
                for answer in answers
            ]
        return [
            [
                (self._id_in(GrpcToRest.convert_payload(point.payload), point.id), point.score)
                for point in answer.result
            ]
            for answer in answers
        ]

    def _id_in(self, payload: Any, point: Any) -> Any:
        found = (payload or {}).get(self.id_field)
        if not isinstance(found, str | int):
            raise ComponentError(
                f"{self.place}: point {point} has no '{self.id_field}' in its payload; correct `id_field`",
                code="RK269",
            )
        return found


def _found(answers: Sequence[Sequence[tuple[Any, float]]]) -> Found:
    sizes = [len(answer) for answer in answers]
    ids = [id for answer in answers for id, _ in answer]
    scores = np.fromiter(
        (score for answer in answers for _, score in answer), np.float32, sum(sizes)
    )
    return Found(np.repeat(np.arange(len(answers)), sizes), ids, scores)


@dataclass
class QdrantRetriever(Retriever):
    """Passages by their embeddings' nearness to the query's."""

    points: Points
    queries: Any
    """Embeddings of all queries, (n, dim)."""
    rows: int
    """Passages in the data set."""
    exact: bool
    ids: IdRows | None = None
    """For a collection that others made: which passage an id stands for.

    In ours the ids are the rows.
    """
    unknown: UnknownIds | None = None
    measured: float | None = None
    """Recall against exact search, where it was measured."""
    asked_again: int = 0
    """Queries to which approximate search gave too short a list, and which were then asked exactly.
    """

    @property
    def counts(self) -> dict[str, Any]:
        """What mining's summary tells."""
        told: dict[str, Any] = {"exact": self.exact}
        if self.measured is not None:
            told["recall_against_exact"] = round(self.measured, 4)
        if self.asked_again:
            told["asked_again_exactly"] = self.asked_again
        if self.unknown is not None:
            told |= {"hits": self.unknown.hits, "unknown": self.unknown.unknown}
        return told

    def search(self, queries: QueryBatch, depth: int) -> Hits:
        """The passages nearest to each query's embedding; `queries.texts` is not read.

        Raises:
            ComponentError: The engine failed for good, or a collection of ours holds less than it
                should.
        """
        return self.nearest(
            np.asarray(self.queries[queries.rows], np.float32), depth, exact=self.exact
        )

    def nearest(self, vectors: npt.NDArray[np.float32], depth: int, *, exact: bool) -> Hits:
        """The passages nearest to each vector (n, dim), ties broken by the lower row."""
        if not len(vectors):
            return Hits(np.empty((0, depth), np.int32), np.empty((0, depth), np.float32))
        limit = depth + SLACK if self.ids else min(depth + SLACK, self.rows)
        found = self.points.nearest(vectors, limit, exact=exact)
        hits = hits_of(len(vectors), depth, found.query, self._rows_of(found.ids), found.scores)
        return hits if self.ids else self._whole(vectors, hits, exact=exact)

    def _rows_of(self, ids: Sequence[Any]) -> Rows:
        if self.ids is None:
            return np.asarray(ids, np.int64)
        texts = [str(id) for id in ids]
        rows = self.ids.of(texts)
        if self.unknown is not None:
            self.unknown.add(texts, rows)
        return rows

    def _whole(self, vectors: npt.NDArray[np.float32], hits: Hits, *, exact: bool) -> Hits:
        """The hits, where a list is too short asked once more without the graph, in which a passage
        may be out of reach.
        """
        wanted = min(hits.rows.shape[1], self.rows)
        short = np.flatnonzero((hits.rows >= 0).sum(axis=1) < wanted)
        if not len(short):
            return hits
        if exact:
            least = int((hits.rows[short] >= 0).sum(axis=1).min())
            raise ComponentError(
                f"{self.points.place} gave {least} passages where {wanted} were asked for and {self.rows} were loaded: it was changed "
                "while it was searched; run again",
                code="RK264",
            )
        self.asked_again += len(short)
        again = self.nearest(vectors[short], hits.rows.shape[1], exact=True)
        hits.rows[short], hits.scores[short] = again.rows, again.scores
        return hits


def recall(found: Hits, truth: Hits) -> float:
    """The share of the truth that was found, a mean over queries that have any."""
    shares = [
        len(np.intersect1d(found.rows[n], row[row >= 0])) / (row >= 0).sum()
        for n, row in enumerate(truth.rows)
        if (row >= 0).any()
    ]
    return float(np.mean(shares)) if shares else 1.0
