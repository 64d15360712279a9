"""Fixtures that start a real Elasticsearch, or use one that runs; see `tests/conftest.py`."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from servers.elasticsearch_server import ElasticsearchServer, NotToBeHad
from servers.proxy import Proxy
from servers.uncovered import skip


@pytest.fixture(scope="session")
def elasticsearch_node() -> Iterator[ElasticsearchServer]:
    """A server of this test session's own, which tests may kill and start again."""
    try:
        server = ElasticsearchServer()
    except NotToBeHad as reason:
        skip("ElasticsearchRetrieverSpec", str(reason))
    with server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch_url(request: pytest.FixtureRequest) -> str:
    """Where a server answers: the one that `RECIPEKIT_TEST_ELASTICSEARCH_URL` names, or the
    session's own.
    """
    given = os.environ.get("RECIPEKIT_TEST_ELASTICSEARCH_URL")
    return given or request.getfixturevalue("elasticsearch_node").url


@pytest.fixture(scope="session")
def secured_elasticsearch() -> Iterator[ElasticsearchServer]:
    """A server with TLS and one user."""
    try:
        server = ElasticsearchServer(secured=True)
    except NotToBeHad as reason:
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
    """A cache's name of this test alone; what is made for it on the server is removed afterwards."""
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
    """`foreign_index(documents, **mapping)`: an index that somebody else filled, from documents by
    `_id`; its name.
    """
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
