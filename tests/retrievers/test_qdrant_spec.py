"""The keys of the qdrant retriever, without a server."""

import pytest

from recipekit.retrievers.qdrant import QdrantSpec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exact": True, "quantization": {}}, "remove `quantization`"),
        ({"exact": True, "hnsw": {"m": 32}}, "builds no graph: remove `hnsw`"),
        ({"id_field": "docid"}, "`id_field` describes an existing collection"),
        (
            {"collection": "a", "on_disk": True},
            "`on_disk` configures a collection that recipekit creates, but 'a' exists",
        ),
        ({"url": "localhost:6333"}, "write http://HOST:PORT"),
    ],
)
def test_contradictory_keys_are_rejected(fields, message):
    with pytest.raises(ValueError, match=message):
        QdrantSpec(encoder="student", **fields)


def test_importing_the_spec_imports_no_client(assert_light):
    assert_light("recipekit.retrievers.qdrant", "torch", "qdrant_client", "grpc", "httpx")
