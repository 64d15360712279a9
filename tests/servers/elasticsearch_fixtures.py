"""Fixtures of a real Elasticsearch, started here or running already."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch, helpers

from servers.elasticsearch_server import ElasticsearchServer, ServerUnavailable
from servers.proxy import Proxy
from servers.uncovered import skip


@pytest.fixture(scope="session")
def elasticsearch_node() -> Iterator[ElasticsearchServer]:
    """The session's own server, which tests may kill and restart."""
    try:
        server = ElasticsearchServer()
    except ServerUnavailable as reason:
        skip("Elasticsearch", str(reason))
    with server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch_url(request: pytest.FixtureRequest) -> str:
    """The URL in `RECIPEKIT_TEST_ELASTICSEARCH_URL`, or that of the session's own server."""
    given = os.environ.get("RECIPEKIT_TEST_ELASTICSEARCH_URL")
    return given or request.getfixturevalue("elasticsearch_node").url


@pytest.fixture(scope="session")
def secured_elasticsearch() -> Iterator[ElasticsearchServer]:
    """A server with TLS and one user."""
    try:
        server = ElasticsearchServer(secured=True)
    except ServerUnavailable as reason:
        skip("Elasticsearch with TLS and users", str(reason))
    with server:
        yield server


@pytest.fixture
def elasticsearch_proxy(elasticsearch_url: str) -> Iterator[Proxy]:
    """A proxy in front of the server."""
    with Proxy(elasticsearch_url) as proxy:
        yield proxy


@pytest.fixture
def elasticsearch_owner(elasticsearch_url: str) -> Iterator[str]:
    """A cache id of one test; its indices are removed afterwards."""
    from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec

    owner = uuid.uuid4().hex
    yield owner
    remote = ElasticsearchRetrieverSpec(url=elasticsearch_url).remote()
    assert remote is not None
    for index in remote.indices():
        if index.owner == owner:
            remote.remove(index.name)


@pytest.fixture
def foreign_index(elasticsearch_url: str) -> Iterator[Callable[..., str]]:
    """`foreign_index(documents, **mapping)`: creates an index without a tag, returns its name."""
    import elasticsearch

    made = []
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:

        def make(documents: Mapping[str, Mapping[str, Any]], **properties: Any) -> str:
            name = f"books-{uuid.uuid4().hex[:8]}"
            made.append(name)
            text = {"type": "text", "analyzer": "english"}
            client.indices.create(
                index=name, mappings={"properties": {"text": text, "title": text, **properties}}
            )
            lines = [
                line
                for id, document in documents.items()
                for line in ({"index": {"_id": id}}, document)
            ]
            assert not client.bulk(index=name, operations=lines, refresh=True)["errors"]
            return name

        yield make
        for name in made:
            client.options(ignore_status=404).indices.delete(index=name)


@pytest.fixture
def vector_index(elasticsearch_url: str) -> Any:
    """`vector_index(ids, vectors, similarity)` makes an index with a dense_vector field."""
    made: list[str] = []
    client = Elasticsearch(elasticsearch_url)

    def make(ids: list[str], vectors: np.ndarray, similarity: str) -> str:
        name = f"recipekit-test-{uuid.uuid4().hex[:8]}"
        made.append(name)
        vector = {"type": "dense_vector", "dims": vectors.shape[1], "similarity": similarity}
        properties = {"embedding": vector, "doc": {"type": "keyword"}, "text": {"type": "text"}}
        client.indices.create(index=name, mappings={"properties": properties})
        documents = [
            {"_index": name, "_id": str(n), "doc": one, "embedding": vector.tolist()}
            for n, (one, vector) in enumerate(zip(ids, vectors, strict=True))
        ]
        documents.append({"_index": name, "_id": "none", "doc": "none", "text": "no vector"})
        helpers.bulk(client, documents, refresh=True)
        return name

    yield make
    for name in made:
        client.indices.delete(index=name)
    client.close()
