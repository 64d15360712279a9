"""Failures of an Elasticsearch server, real or made by a proxy: a retry, or one clear error."""

import elasticsearch
import numpy as np
import pytest

from recipekit.component import QueryBatch
from recipekit.errors import ComponentError
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.testing import RecordingProgress, context
from servers.elasticsearch_server import PASSWORD, USER, free_port
from servers.proxy import Answer, Call, Cut, Proxy, Rewrite

pytestmark = pytest.mark.usefixtures("short_waits")

ROWS = 5200
"""Passages in six blocks, of which the last is short."""


@pytest.fixture
def client(elasticsearch_url):
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        yield client


@pytest.fixture
def many_passages(make_dataset):
    """Passages with their row as a word, and one word that all share."""
    return make_dataset(
        [("q", "row7", "train")], [(f"p{i}", f"row{i} shared") for i in range(ROWS)], {(0, 7): 1.0}
    )


@pytest.fixture
def few_passages(make_dataset):
    return make_dataset(
        [("q", "red", "train")],
        [("a", "red fox"), ("b", "blue hen"), ("c", "red hen")],
        {(0, 0): 1.0},
    )


@pytest.fixture
def context_for(elasticsearch_owner, tmp_path):
    """`context_for(dataset)`: the context to build in."""
    return lambda dataset: context(
        tmp_path, dataset=dataset, owner=elasticsearch_owner, progress=RecordingProgress()
    )


def search(retriever, *texts, depth=3):
    return retriever.search(QueryBatch(np.arange(len(texts)), texts), depth).rows.tolist()


def count_documents(client, owner):
    """The documents in an owner's only index, and its deleted copies."""
    found = (
        ElasticsearchRetrieverSpec(
            url=f"http://{client.transport.node_pool.get().host}:{client.transport.node_pool.get().port}"
        )
        .remote()
        .indices()
    )
    (name,) = [index.name for index in found if index.owner == owner]
    docs = client.indices.stats(index=name, metric="docs")["_all"]["primaries"]["docs"]
    return docs["count"], docs["deleted"]


# Reaching it
# ------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_an_error(few_passages, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        ComponentError,
        match=rf"Elasticsearch at {url} cannot be reached .*refused.*: start it, or correct `url`",
    ) as raised:
        ElasticsearchRetrieverSpec(url=url, max_retries=0).build(
            context(tmp_path, dataset=few_passages)
        )
    assert raised.value.code == "RK260"
    assert "0x" not in str(raised.value)
    with pytest.raises(ComponentError, match="cannot be reached"):
        ElasticsearchRetrieverSpec(url=url, index="books").fingerprint()
    with pytest.raises(ComponentError, match="cannot be reached"):
        ElasticsearchRetrieverSpec(url=url).reach()


def test_credentials_and_certificates_are_checked(few_passages, secured_elasticsearch, tmp_path):
    server = secured_elasticsearch
    user = {"url": server.url, "ca_certs": server.ca_file, "username": USER, "password": PASSWORD}
    assert search(
        ElasticsearchRetrieverSpec(**user).build(context(tmp_path, dataset=few_passages)), "fox"
    ) == [[0, -1, -1]]
    with elasticsearch.Elasticsearch(
        server.url, ca_certs=str(server.ca_file), basic_auth=(USER, PASSWORD)
    ) as client:
        key = client.security.create_api_key(name="test")["encoded"]
    by_key = ElasticsearchRetrieverSpec(url=server.url, ca_certs=server.ca_file, api_key=key)
    by_key.reach()
    assert search(by_key.build(context(tmp_path, dataset=few_passages)), "fox") == [[0, -1, -1]]
    assert search(
        ElasticsearchRetrieverSpec(**{**user, "ca_certs": None, "verify_certs": False}).build(
            context(tmp_path, dataset=few_passages)
        ),
        "hen",
    ) == [[1, 2, -1]]

    for wrong, code, message in (
        (
            {"password": "not this one"},
            "RK263",
            r"rejects the credentials \(401 .*set `api_key`, `username` and `password`",
        ),
        ({"username": None, "password": None}, "RK263", r"rejects the credentials \(401"),
        (
            {"username": None, "password": None, "bearer_token": "no"},
            "RK263",
            r"rejects the credentials \(401",
        ),
        (
            {"ca_certs": None},
            "RK260",
            "has an untrusted certificate .*set `ca_certs` to the certificate of its authority",
        ),
        ({"ca_certs": tmp_path / "none.pem"}, "RK263", r"none.pem: no such file \(`ca_certs`\)"),
    ):
        with pytest.raises(ComponentError, match=message) as raised:
            ElasticsearchRetrieverSpec(**{**user, **wrong}).build(
                context(tmp_path, dataset=few_passages)
            )
        assert raised.value.code == code
        assert PASSWORD not in str(raised.value)
        assert "not this one" not in str(raised.value)


def test_a_bearer_token_is_sent(few_passages, elasticsearch_proxy, context_for):
    ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, bearer_token="a-token").build(
        context_for(few_passages)
    )
    assert {request.headers["authorization"] for request in elasticsearch_proxy.seen} == {
        "Bearer a-token"
    }


@pytest.mark.parametrize("version", ["7.17.28", "10.0.0"])
def test_an_incompatible_version_is_an_error(
    few_passages, elasticsearch_proxy, context_for, version
):
    elasticsearch_proxy.rule(
        "GET", "/_nodes", Answer(200, body={"nodes": {"x": {"version": version}}})
    )
    with pytest.raises(
        ComponentError,
        match=rf"is version {version}, but elasticsearch-py 8\..* serves versions 8 and 9: use a",
    ):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages))


def test_credentials_that_may_only_search_need_not_see_the_version(
    few_passages, elasticsearch_proxy, context_for
):
    elasticsearch_proxy.rule(
        "GET",
        "/_nodes",
        Answer(403, body={"error": {"type": "security_exception", "reason": "no"}, "status": 403}),
    )
    assert search(
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages)),
        "fox",
    ) == [[0, -1, -1]]


def test_another_product_is_an_error(few_passages, elasticsearch_proxy, context_for):
    elasticsearch_proxy.rule("GET", "/_nodes", Answer(200, {"x-elastic-product": "OpenSearch"}))
    with pytest.raises(ComponentError, match="is not Elasticsearch"):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages))
    elasticsearch_proxy.rule("GET", "/_nodes", Answer(404, {"x-elastic-product": ""}))
    with pytest.raises(ComponentError, match=r"is not Elasticsearch .*404.*: correct `url`"):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages))


# During loading
# ------------------------------------------------------------------------------------------


def test_loading_continues_after_a_server_restart(
    many_passages, elasticsearch_node, context_for, elasticsearch_owner
):
    def restart():
        elasticsearch_node.kill()
        elasticsearch_node.start()

    with (
        Proxy(elasticsearch_node.url) as proxy,
        elasticsearch.Elasticsearch(elasticsearch_node.url) as client,
    ):
        proxy.rule("PUT", "_bulk", Call(restart), after=3)
        retriever = ElasticsearchRetrieverSpec(url=proxy.url, max_retries=999).build(
            context_for(many_passages)
        )
        assert search(retriever, "row5199", "row0", "row3500") == [
            [5199, -1, -1],
            [0, -1, -1],
            [3500, -1, -1],
        ]
        assert count_documents(client, elasticsearch_owner) == (ROWS, 0)


def test_the_next_run_resumes_an_interrupted_load(
    many_passages, elasticsearch_url, context_for, client, elasticsearch_owner
):
    with Proxy(elasticsearch_url) as proxy:
        proxy.rule("PUT", "_bulk", Cut(), after=3, times=-1)
        with pytest.raises(
            ComponentError, match=r"index 'recipekit-.*' (dropped the connection|cannot be reached)"
        ):
            ElasticsearchRetrieverSpec(url=proxy.url, max_retries=1, concurrency=1).build(
                context_for(many_passages)
            )
    with Proxy(elasticsearch_url) as proxy:
        retriever = ElasticsearchRetrieverSpec(url=proxy.url, concurrency=1).build(
            context_for(many_passages)
        )
        assert len(proxy.requests("PUT", "_bulk")) == 3, (
            "three of six blocks were acknowledged and are kept"
        )
        assert search(retriever, "row0", "row5199") == [[0, -1, -1], [5199, -1, -1]]
        assert count_documents(client, elasticsearch_owner) == (ROWS, 0)


@pytest.mark.parametrize(
    "fault",
    [
        Answer(
            429,
            {"Retry-After": "0"},
            {"error": {"type": "es_rejected_execution_exception", "reason": "full"}, "status": 429},
        ),
        Answer(503, {"Retry-After": "0"}),
        Answer(502, body=b"<html>bad gateway</html>", headers={"content-type": "text/html"}),
        Cut(),
        Cut(after=True),
    ],
    ids=["429", "503", "502", "lost", "lost afterwards"],
)
def test_a_temporary_failure_is_retried(
    few_passages, elasticsearch_proxy, context_for, client, elasticsearch_owner, fault
):
    elasticsearch_proxy.rule("PUT", "_bulk", fault)
    elasticsearch_proxy.rule("POST", "_msearch", fault)
    context = context_for(few_passages)
    assert search(
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context), "red", "hen"
    ) == [[0, 2, -1], [1, 2, -1]]
    assert (
        len(elasticsearch_proxy.requests("PUT", "_bulk"))
        == len(elasticsearch_proxy.requests("POST", "_msearch"))
        == 2
    )
    assert count_documents(client, elasticsearch_owner) == (3, 0)
    assert context.progress.warnings == [], "a single retry is not worth a line"


def test_a_lasting_failure_is_one_clear_error(few_passages, elasticsearch_proxy, context_for):
    busy = Answer(
        429,
        {"Retry-After": "0"},
        {
            "error": {"type": "es_rejected_execution_exception", "reason": "queue full"},
            "status": 429,
        },
    )
    elasticsearch_proxy.rule("POST", "_msearch", busy, times=-1)
    retriever = ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, max_retries=1).build(
        context_for(few_passages)
    )
    with pytest.raises(
        ComponentError,
        match=r"index 'recipekit-.*' rejects requests \(429 es_rejected.*queue full\): lower `co",
    ):
        search(retriever, "red")
    assert len(elasticsearch_proxy.requests("POST", "_msearch")) == 2


def test_a_server_that_asks_for_an_hour_is_treated_as_down(
    few_passages, elasticsearch_proxy, context_for
):
    elasticsearch_proxy.rule("PUT", "_bulk", Answer(503, {"Retry-After": "3600"}), times=-1)
    with pytest.raises(ComponentError, match="rejects requests"):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages))
    assert len(elasticsearch_proxy.requests("PUT", "_bulk")) == 1


def failing_at(item, status, error):
    """A bulk reply in which one item has failed."""

    def change(reply):
        reply["errors"] = True
        reply.setdefault("items", [{"create": {"status": 201}} for _ in range(3)])
        reply["items"][item] = {
            "create": {"status": status, "error": {"type": error, "reason": "because"}}
        }
        return reply

    return Rewrite(change)


def test_only_failed_documents_of_a_bulk_request_are_sent_again(
    few_passages, elasticsearch_proxy, context_for, client, elasticsearch_owner
):
    elasticsearch_proxy.rule("PUT", "_bulk", failing_at(1, 429, "es_rejected_execution_exception"))
    assert search(
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages)),
        "hen",
    ) == [[1, 2, -1]]
    first, again = elasticsearch_proxy.requests("PUT", "_bulk")
    assert (first.body.count(b"\n"), again.body.count(b"\n")) == (6, 2)
    assert b"blue hen" in again.body
    assert count_documents(client, elasticsearch_owner) == (3, 0)


def test_a_rejected_passage_is_named(few_passages, elasticsearch_proxy, context_for):
    elasticsearch_proxy.rule("PUT", "_bulk", failing_at(2, 400, "document_parsing_exception"))
    with pytest.raises(
        ComponentError,
        match=r"index 'recipekit-.*', passage 'c': rejects the request "
        r".*document_parsing_exception: because",
    ):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages))
    assert len(elasticsearch_proxy.requests("PUT", "_bulk")) == 1


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("read_only_allow_delete", "cannot write because its disk is full"),
        ("write", "is read-only"),
    ],
)
def test_an_index_that_becomes_read_only_while_loading_is_resumed_later(
    many_passages, elasticsearch_proxy, context_for, client, elasticsearch_owner, block, message
):
    """A server does this above the flood-stage watermark of its disk."""

    def set_block(value):
        client.indices.put_settings(index="recipekit-*", settings={f"index.blocks.{block}": value})

    elasticsearch_proxy.rule("PUT", "_bulk", Call(lambda: set_block(True)), after=3)
    with pytest.raises(
        ComponentError, match=f"index 'recipekit-.*, passage 'p.*: {message} .*then run again"
    ) as raised:
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, concurrency=1).build(
            context_for(many_passages)
        )
    assert raised.value.code == "RK265"
    set_block(None)
    elasticsearch_proxy.seen.clear()
    ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, concurrency=1).build(
        context_for(many_passages)
    )
    assert len(elasticsearch_proxy.requests("PUT", "_bulk")) == 3
    assert count_documents(client, elasticsearch_owner) == (ROWS, 0)


def test_a_wrong_count_after_loading_is_an_error(few_passages, elasticsearch_proxy, context_for):
    elasticsearch_proxy.rule("POST", "_count", Rewrite(lambda reply: {**reply, "count": 2}))
    with pytest.raises(
        ComponentError, match="holds 2 passages instead of 3: remove it, then run again"
    ):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context_for(few_passages))


# During the search
# ------------------------------------------------------------------------------------------


def timed_out(reply):
    return {"responses": [{**one, "timed_out": True} for one in reply["responses"]]}


def shard_failed(reply):
    failure = {"shard": 0, "reason": {"type": "node_disconnected_exception", "reason": "gone"}}
    shards = {"total": 2, "successful": 1, "failed": 1, "failures": [failure]}
    return {"responses": [{**reply["responses"][0], "_shards": shards}, *reply["responses"][1:]]}


def rejected(reply):
    error = {"type": "es_rejected_execution_exception", "reason": "queue"}
    return {
        "responses": [
            *reply["responses"][:1],
            *({"status": 429, "error": error} for _ in reply["responses"][1:]),
        ]
    }


@pytest.mark.parametrize("change", [timed_out, shard_failed, rejected])
def test_only_incomplete_searches_are_retried(
    few_passages, elasticsearch_proxy, context_for, change
):
    retriever = ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(
        context_for(few_passages)
    )
    elasticsearch_proxy.rule("POST", "_msearch", Rewrite(change))
    assert search(retriever, "red", "hen", "fox") == [[0, 2, -1], [1, 2, -1], [0, -1, -1]]
    again = elasticsearch_proxy.requests("POST", "_msearch")[1].body
    assert again.count(b"\n") == {timed_out: 6, shard_failed: 2, rejected: 4}[change], (
        "only failed searches"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (timed_out, "a search timed out on the server"),
        (shard_failed, "1 of 2 shards failed: node_disconnected_exception: gone"),
    ],
)
def test_an_incomplete_search_is_an_error(
    few_passages, elasticsearch_proxy, context_for, change, message
):
    retriever = ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, max_retries=1).build(
        context_for(few_passages)
    )
    elasticsearch_proxy.rule("POST", "_msearch", Rewrite(change), times=-1)
    with pytest.raises(
        ComponentError,
        match=rf"index 'recipekit-.*' searched only part of the index \({message}\)",
    ):
        search(retriever, "red")


def test_an_index_removed_during_the_search_is_an_error(
    few_passages, elasticsearch_url, context_for, elasticsearch_owner
):
    spec = ElasticsearchRetrieverSpec(url=elasticsearch_url)
    retriever = spec.build(context_for(few_passages))
    remote = spec.remote()
    (index,) = [index for index in remote.indices() if index.owner == elasticsearch_owner]
    remote.remove(index.name)
    with pytest.raises(
        ComponentError,
        match=f"index '{index.name}' does not exist .*run again, which creates recipekit's own",
    ):
        search(retriever, "red")
    assert search(spec.build(context_for(few_passages)), "red") == [[0, 2, -1]]


def test_an_existing_index_that_changes_is_an_error(
    few_passages, elasticsearch_url, context_for, foreign_index, client
):
    index = foreign_index({"a": {"text": "red"}})
    spec = ElasticsearchRetrieverSpec(url=elasticsearch_url, index=index)
    planned = spec.fingerprint()
    retriever = spec.build(context_for(few_passages))
    assert search(retriever, "red") == [[0, -1, -1]]
    assert spec.fingerprint() == planned
    client.index(index=index, id="b", document={"text": "red"}, refresh=True)
    assert spec.fingerprint() != planned
    with pytest.raises(
        ComponentError, match=f"index '{index}' changed while it was searched: run again"
    ):
        search(retriever, "red")
    client.indices.delete(index=index)
    for ask in (
        spec.fingerprint,
        lambda: spec.build(context_for(few_passages)),
        lambda: search(retriever, "red"),
    ):
        with pytest.raises(
            ComponentError, match=f"index '{index}' does not exist .*correct `index`"
        ) as raised:
            ask()
        assert raised.value.code == "RK264"
