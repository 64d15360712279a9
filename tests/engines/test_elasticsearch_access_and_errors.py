"""Elasticsearch's access keys and failures, without a server."""

from base64 import b64encode

import pytest
from pydantic import ValidationError

from recipekit.engines.elasticsearch.access import ElasticsearchAccess
from recipekit.engines.elasticsearch.errors import REMEDIES, clause_limit, failure_of_status
from recipekit.engines.retry import TRANSIENT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "localhost:9200"}, "write http://HOST:PORT"),
        ({"url": "http://"}, "write http://HOST:PORT"),
        ({"url": ["http://a:9200", "b"]}, "write http://HOST:PORT"),
        ({"url": "http://a:9200", "cloud_id": "x:y"}, "`url` or `cloud_id`, not both"),
        ({"username": "me"}, "`username` and `password` belong together"),
        ({"api_key": "k", "bearer_token": "t"}, "there are api_key and bearer_token"),
        (
            {"api_key": "k", "url": "http://me:secret@host:9200"},
            "there are api_key and a user in `url`",
        ),
    ],
)
def test_contradictory_access_keys_are_rejected(fields, message):
    with pytest.raises(ValidationError, match=message) as raised:
        ElasticsearchAccess(**fields)
    assert "secret" not in str(raised.value).partition("[type=")[0]


def test_a_cluster_is_named_by_its_urls_with_ports():
    def name(**fields):
        return ElasticsearchAccess(**fields).connect().server

    assert name() == "Elasticsearch at http://localhost:9200"
    assert (
        name(url=("https://a", "https://b:9243/es/"))
        == "Elasticsearch at https://a:443, https://b:9243/es"
    )
    assert (
        name(cloud_id="mine:bG9jYWxob3N0JGFiYyRkZWY=", api_key="key")
        == "Elasticsearch at cloud 'mine'"
    )


def test_a_user_in_the_url_logs_in_and_is_not_shown():
    connection = ElasticsearchAccess(url="http://me:p%40ss@host:9200").connect()
    assert connection.server == "Elasticsearch at http://host:9200"
    expected = f"Basic {b64encode(b'me:p@ss').decode()}"
    assert connection.client._headers["authorization"] == expected


def test_nested_errors_are_reported_outermost_first():
    error = {
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "failed_shards": [{"reason": {"type": "x", "reason": "y"}}],
    }
    failure = failure_of_status(400, {"error": error})
    assert failure.text == "400 search_phase_execution_exception: all shards failed; x: y"


def test_retry_after_of_a_busy_server_is_read():
    failure = failure_of_status(503, {"error": "overloaded"}, {"Retry-After": "7"})
    assert (failure.kind, failure.transient, failure.retry_after) == ("busy", True, 7)


def test_a_full_disk_is_not_retried():
    watermark = {
        "type": "cluster_block_exception",
        "reason": "index [a] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage "
        "watermark]",
    }
    failure = failure_of_status(429, {"error": watermark})
    assert (failure.kind, failure.transient) == ("full", False)


def test_the_clause_limit_is_read_from_the_error():
    error = {
        "type": "query_shard_exception",
        "reason": "failed to create query: maxClauseCount is set to 8192",
    }
    failure = failure_of_status(400, {"error": error})
    assert failure.kind == "clauses"
    assert clause_limit(failure) == 8192


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "missing"),
        (413, "too_large"),
        (429, "busy"),
        (500, "failing"),
        (502, "failing"),
        (503, "busy"),
        (504, "failing"),
    ],
)
def test_a_status_without_a_reason_has_a_kind(status, kind):
    assert failure_of_status(status, None).kind == kind


def test_every_transient_kind_has_a_remedy():
    assert TRANSIENT <= REMEDIES.keys()
