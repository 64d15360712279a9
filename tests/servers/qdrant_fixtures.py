"""Fixtures of a real Qdrant: started here, or the one at RECIPEKIT_TEST_QDRANT_URL."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from servers.elasticsearch_server import ServerUnavailable
from servers.qdrant_server import QdrantProcess
from servers.uncovered import skip

WHAT = "Qdrant"
OWNER = "recipekit-test"


@dataclass(frozen=True)
class Qdrant:
    """A running server."""

    url: str
    grpc_port: int


@pytest.fixture(scope="session")
def qdrant_server() -> Iterator[Qdrant]:
    """A running server, once for the session."""
    given = os.environ.get("RECIPEKIT_TEST_QDRANT_URL")
    if given:
        yield Qdrant(given, int(os.environ.get("RECIPEKIT_TEST_QDRANT_GRPC_PORT", "6334")))
        return
    try:
        process = QdrantProcess()
    except ServerUnavailable as reason:
        skip(WHAT, str(reason))
    with process:
        yield Qdrant(process.url, process.grpc_port)


@pytest.fixture
def qdrant(qdrant_server: Qdrant) -> Iterator[Qdrant]:
    """The session's server; collections of the test are removed afterwards."""
    from qdrant_client import QdrantClient

    yield qdrant_server
    client = QdrantClient(url=qdrant_server.url, check_compatibility=False)
    for collection in client.get_collections().collections:
        metadata = client.get_collection(collection.name).config.metadata or {}
        cache_id = metadata.get("recipekit", {}).get("cache_id", "")
        if cache_id.startswith(OWNER) or collection.name.startswith(OWNER):
            client.delete_collection(collection.name)
    client.close()


@pytest.fixture
def vector_collection(qdrant: Qdrant) -> Callable[..., str]:
    """`vector_collection(ids, vectors, distance)` makes a collection whose payload has the ids."""
    from qdrant_client import QdrantClient, models

    def make(ids: list[str], vectors: np.ndarray, distance: str, named: str = "") -> str:
        name = f"recipekit-test-{uuid.uuid4().hex[:8]}"
        params = models.VectorParams(size=vectors.shape[1], distance=models.Distance(distance))
        with closing(QdrantClient(url=qdrant.url, check_compatibility=False)) as client:
            client.create_collection(name, vectors_config={named: params} if named else params)
            rows = [vector.tolist() for vector in vectors]
            client.upsert(
                name,
                points=models.Batch(
                    ids=list(range(len(ids))),
                    payloads=[{"doc": one} for one in ids],
                    vectors={named: rows} if named else rows,
                ),
                wait=True,
            )
        return name

    return make


@pytest.fixture
def start_qdrant() -> Iterator[Callable[..., QdrantProcess]]:
    """`start_qdrant(api_key=...)`: a server of one test, which it may kill and restart."""
    with ExitStack() as stack:

        def start(**options: Any) -> QdrantProcess:
            try:
                return stack.enter_context(QdrantProcess(**options))
            except ServerUnavailable as reason:
                skip(f"{WHAT} that is killed, locked or full", str(reason))

        yield start
