import sys
from base64 import b64encode

import pytest
from pydantic import ValidationError

from recipekit.engines.elasticsearch import ElasticsearchAccess
from recipekit.engines.elasticsearch_failures import failure_of_status


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "localhost:9200"}, "is no url: write http://HOST:PORT"),
        ({"url": "http://"}, "is no url"),
        ({"url": ["http://a:9200", "b"]}, "is no url"),
        ({"url": "http://a:9200", "cloud_id": "x:y"}, "`url` or `cloud_id`, not both"),
        ({"username": "me"}, "`username` and `password` belong together"),
        ({"api_key": "k", "bearer_token": "t"}, "there are api_key and bearer_token"),
        (
            {"api_key": "k", "url": "http://me:secret@host:9200"},
            "there are api_key and a user in `url`",
        ),
    ],
)
def test_what_cannot_be(fields, message):
    with pytest.raises(ValidationError, match=message) as told:
        ElasticsearchAccess(**fields)
    assert "secret" not in str(told.value).partition("[type=")[0]


def test_a_cluster_is_named_by_its_urls_with_ports():
    def shown(**fields):
        return ElasticsearchAccess(**fields).cluster().place

    assert shown() == "Elasticsearch at http://localhost:9200"
    assert (
        shown(url=("https://a", "https://b:9243/es/"))
        == "Elasticsearch at https://a:443, https://b:9243/es"
    )
    assert (
        shown(cloud_id="mine:bG9jYWxob3N0JGFiYyRkZWY=", api_key="key")
        == "Elasticsearch at cloud 'mine'"
    )
    assert "elasticsearch" in sys.modules


def test_a_user_may_stand_in_the_url_and_is_not_shown():
    cluster = ElasticsearchAccess(url="http://me:p%40ss@host:9200").cluster()
    assert cluster.place == "Elasticsearch at http://host:9200"
    assert cluster.client._headers["authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"


def test_failures_and_what_can_help():
    nested = {
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "failed_shards": [{"reason": {"type": "x", "reason": "y"}}],
    }
    watermark = {
        "type": "cluster_block_exception",
        "reason": "index [a] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]",
    }
    many = {
        "type": "query_shard_exception",
        "reason": "failed to create query: maxClauseCount is set to 8192",
    }
    assert (
        failure_of_status(400, {"error": nested}).text
        == "400 search_phase_execution_exception: all shards failed; x: y"
    )
    busy = failure_of_status(503, {"error": "overloaded"}, {"Retry-After": "7"})
    assert (busy.kind, busy.transient.asked) == ("busy", 7)
    full = failure_of_status(429, {"error": watermark})
    assert (full.kind, full.transient) == ("full", None), "asking again frees no disk"
    assert failure_of_status(400, {"error": many}).clauses == 8192
    kinds = {
        status: failure_of_status(status, None).kind
        for status in (400, 401, 403, 404, 429, 500, 502, 503, 504)
    }
    assert list(kinds.values()) == [
        "invalid",
        "unauthorized",
        "forbidden",
        "missing",
        "busy",
        "failing",
        "failing",
        "busy",
        "failing",
    ]
