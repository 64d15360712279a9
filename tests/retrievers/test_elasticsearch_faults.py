"""What goes wrong at a real Elasticsearch, or is made to seem so by a proxy in front of it: asked
again, or one clear error.
"""

import numpy as np
import pytest

from recipekit.component import QueryBatch
from recipekit.errors import ComponentError
from recipekit.retrievers.elasticsearch import ElasticsearchRetrieverSpec
from recipekit.testing import RecordingProgress, context
from servers.elasticsearch_server import PASSWORD, USER, free_port
from servers.proxy import Answer, Call, Cut, Proxy, Rewrite

elasticsearch = pytest.importorskip("elasticsearch")

pytestmark = pytest.mark.usefixtures("impatient")

ROWS = 5200
"""Passages: more than one block of 1000 rows, the last of them short."""


@pytest.fixture
def client(elasticsearch_url):
    with elasticsearch.ElasticsearchRetrieverSpec(elasticsearch_url) as client:
        yield client


@pytest.fixture
def many(make_dataset):
    """Passages that hold their row as a word, and one word that all share."""
    return make_dataset(
        [("q", "row7", "train")], [(f"p{i}", f"row{i} shared") for i in range(ROWS)], {(0, 7): 1.0}
    )


@pytest.fixture
def few(make_dataset):
    return make_dataset(
        [("q", "red", "train")],
        [("a", "red fox"), ("b", "blue hen"), ("c", "red hen")],
        {(0, 0): 1.0},
    )


@pytest.fixture
def around(elasticsearch_owner, tmp_path):
    """`around(dataset)`: the context to build in."""
    return lambda dataset: context(
        tmp_path, dataset=dataset, owner=elasticsearch_owner, progress=RecordingProgress()
    )


def search(retriever, *texts, depth=3):
    return retriever.search(QueryBatch(np.arange(len(texts)), texts), depth).rows.tolist()


def held(client, owner):
    """How many documents the one index of an owner holds, and how many deleted copies."""
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
# ---------------------------------------------------------------------------------------------------------


def test_nobody_answers(few, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        ComponentError,
        match=rf"Elasticsearch at {url} cannot be reached .*refused.*: start it, or correct `url`",
    ) as told:
        ElasticsearchRetrieverSpec(url=url, attempts=1).build(context(tmp_path, dataset=few))
    assert told.value.code == "RK260"
    assert "0x" not in str(told.value)
    with pytest.raises(ComponentError, match="cannot be reached"):
        ElasticsearchRetrieverSpec(url=url, index="books").fingerprint()
    with pytest.raises(ComponentError, match="cannot be reached"):
        ElasticsearchRetrieverSpec(url=url).reach()


def test_credentials_and_certificates(few, secured_elasticsearch, tmp_path):
    server = secured_elasticsearch
    user = {"url": server.url, "ca_file": server.ca_file, "username": USER, "password": PASSWORD}
    assert search(
        ElasticsearchRetrieverSpec(**user).build(context(tmp_path, dataset=few)), "fox"
    ) == [[0, -1, -1]]
    with elasticsearch.ElasticsearchRetrieverSpec(
        server.url, ca_certs=str(server.ca_file), basic_auth=(USER, PASSWORD)
    ) as client:
        key = client.security.create_api_key(name="test")["encoded"]
    by_key = ElasticsearchRetrieverSpec(url=server.url, ca_file=server.ca_file, api_key=key)
    by_key.reach()
    assert search(by_key.build(context(tmp_path, dataset=few)), "fox") == [[0, -1, -1]]
    assert search(
        ElasticsearchRetrieverSpec(**{**user, "ca_file": None, "verify": False}).build(
            context(tmp_path, dataset=few)
        ),
        "hen",
    ) == [[1, 2, -1]]

    for wrong, code, message in (
        (
            {"password": "not this one"},
            "RK263",
            r"refuses the credentials \(401 .*give `api_key`, `username` and `password`",
        ),
        ({"username": None, "password": None}, "RK263", r"refuses the credentials \(401"),
        (
            {"username": None, "password": None, "bearer_token": "no"},
            "RK263",
            r"refuses the credentials \(401",
        ),
        (
            {"ca_file": None},
            "RK260",
            "has a certificate that is not trusted .*give the authority's certificate as `ca_file`",
        ),
        ({"ca_file": tmp_path / "none.pem"}, "RK263", r"none.pem: no such file \(`ca_file`\)"),
    ):
        with pytest.raises(ComponentError, match=message) as told:
            ElasticsearchRetrieverSpec(**{**user, **wrong}).build(context(tmp_path, dataset=few))
        assert told.value.code == code
        assert PASSWORD not in str(told.value)
        assert "not this one" not in str(told.value)


def test_a_bearer_token_is_sent(few, elasticsearch_proxy, around):
    ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, bearer_token="a-token").build(
        around(few)
    )
    assert {request.headers["authorization"] for request in elasticsearch_proxy.seen} == {
        "Bearer a-token"
    }


@pytest.mark.parametrize("version", ["7.17.28", "10.0.0"])
def test_versions_that_clash(few, elasticsearch_proxy, around, version):
    elasticsearch_proxy.rule(
        "GET", "/_nodes", Answer(200, body={"nodes": {"x": {"version": version}}})
    )
    with pytest.raises(
        ComponentError,
        match=rf"is version {version}, and elasticsearch-py 8\..* serves versions 8 and 9: use a server of",
    ):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))


def test_what_may_only_search_need_not_tell_its_version(few, elasticsearch_proxy, around):
    elasticsearch_proxy.rule(
        "GET",
        "/_nodes",
        Answer(403, body={"error": {"type": "security_exception", "reason": "no"}, "status": 403}),
    )
    assert search(
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few)), "fox"
    ) == [[0, -1, -1]]


def test_another_product(few, elasticsearch_proxy, around):
    elasticsearch_proxy.rule("GET", "/_nodes", Answer(200, {"x-elastic-product": "OpenSearch"}))
    with pytest.raises(ComponentError, match="is not Elasticsearch"):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))
    elasticsearch_proxy.rule("GET", "/_nodes", Answer(404, {"x-elastic-product": ""}))
    with pytest.raises(ComponentError, match=r"is not Elasticsearch .*404.*: correct `url`"):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))


# While it is loaded
# --------------------------------------------------------------------------------------------------


def test_killed_and_back_while_it_is_loaded(many, elasticsearch_node, around, elasticsearch_owner):
    """The run that is under way asks again, and goes on by itself."""

    def power_cut():
        elasticsearch_node.kill()
        elasticsearch_node.start()

    with (
        Proxy(elasticsearch_node.url) as proxy,
        elasticsearch.ElasticsearchRetrieverSpec(elasticsearch_node.url) as client,
    ):
        proxy.rule("PUT", "_bulk", Call(power_cut), after=3)
        retriever = ElasticsearchRetrieverSpec(url=proxy.url, attempts=1000).build(around(many))
        assert search(retriever, "row5199", "row0", "row3500") == [
            [5199, -1, -1],
            [0, -1, -1],
            [3500, -1, -1],
        ]
        assert held(client, elasticsearch_owner) == (ROWS, 0)


def test_killed_and_back_for_the_next_run(many, elasticsearch_node, around, elasticsearch_owner):
    """The run that found it dead says so; the next one sends what is missing, and no more."""
    with (
        Proxy(elasticsearch_node.url) as proxy,
        elasticsearch.ElasticsearchRetrieverSpec(elasticsearch_node.url) as client,
    ):
        proxy.rule("PUT", "_bulk", Call(elasticsearch_node.kill), after=3)
        with pytest.raises(
            ComponentError, match=r"index 'recipekit-.*' (broke the connection|cannot be reached)"
        ):
            ElasticsearchRetrieverSpec(url=proxy.url, attempts=2, concurrency=1).build(around(many))
        elasticsearch_node.start()
        proxy.seen.clear()
        retriever = ElasticsearchRetrieverSpec(url=proxy.url, concurrency=1).build(around(many))
        assert len(proxy.asked("PUT", "_bulk")) == 3, (
            "three of six blocks were acknowledged, and outlive a power cut"
        )
        assert search(retriever, "row0", "row5199") == [[0, -1, -1], [5199, -1, -1]]
        assert held(client, elasticsearch_owner) == (ROWS, 0)


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
    ids=["429", "503", "502", "lost", "lost once done"],
)
def test_what_passes_is_asked_again(
    few, elasticsearch_proxy, around, client, elasticsearch_owner, fault
):
    elasticsearch_proxy.rule("PUT", "_bulk", fault)
    elasticsearch_proxy.rule("POST", "_msearch", fault)
    context = around(few)
    assert search(
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(context), "red", "hen"
    ) == [[0, 2, -1], [1, 2, -1]]
    assert (
        len(elasticsearch_proxy.asked("PUT", "_bulk"))
        == len(elasticsearch_proxy.asked("POST", "_msearch"))
        == 2
    )
    assert held(client, elasticsearch_owner) == (3, 0)
    assert context.progress.warnings == [], "a hiccup is not worth a line"


def test_what_does_not_pass_is_told(few, elasticsearch_proxy, around):
    busy = Answer(
        429,
        {"Retry-After": "0"},
        {
            "error": {"type": "es_rejected_execution_exception", "reason": "queue full"},
            "status": 429,
        },
    )
    elasticsearch_proxy.rule("POST", "_msearch", busy, times=-1)
    retriever = ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, attempts=2).build(
        around(few)
    )
    with pytest.raises(
        ComponentError,
        match=r"index 'recipekit-.*' turns requests away \(429 es_rejected.*queue full\): lower `concurrency`",
    ):
        search(retriever, "red")
    assert len(elasticsearch_proxy.asked("POST", "_msearch")) == 2


def test_a_server_that_asks_for_an_hour_is_taken_for_down(few, elasticsearch_proxy, around):
    elasticsearch_proxy.rule("PUT", "_bulk", Answer(503, {"Retry-After": "3600"}), times=-1)
    with pytest.raises(ComponentError, match="turns requests away"):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))
    assert len(elasticsearch_proxy.asked("PUT", "_bulk")) == 1


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


def test_of_a_bulk_request_only_what_failed_is_sent_again(
    few, elasticsearch_proxy, around, client, elasticsearch_owner
):
    elasticsearch_proxy.rule("PUT", "_bulk", failing_at(1, 429, "es_rejected_execution_exception"))
    assert search(
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few)), "hen"
    ) == [[1, 2, -1]]
    first, again = elasticsearch_proxy.asked("PUT", "_bulk")
    assert (first.body.count(b"\n"), again.body.count(b"\n")) == (6, 2)
    assert b"blue hen" in again.body
    assert held(client, elasticsearch_owner) == (3, 0)


def test_a_passage_that_the_server_refuses(few, elasticsearch_proxy, around):
    elasticsearch_proxy.rule("PUT", "_bulk", failing_at(2, 400, "document_parsing_exception"))
    with pytest.raises(
        ComponentError,
        match=r"index 'recipekit-.*', passage 'c': cannot do what it was asked .*document_parsing_exception: because",
    ):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))
    assert len(elasticsearch_proxy.asked("PUT", "_bulk")) == 1


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("read_only_allow_delete", "cannot write, for its disk is full"),
        ("write", "has made the index read-only"),
    ],
)
def test_read_only_while_it_is_loaded(
    many, elasticsearch_proxy, around, client, elasticsearch_owner, block, message
):
    """What the server does by itself above the flood-stage watermark of its disk; once that is
    over, the next run goes on.
    """

    def set_block(value):
        client.indices.put_settings(index="recipekit-*", settings={f"index.blocks.{block}": value})

    elasticsearch_proxy.rule("PUT", "_bulk", Call(lambda: set_block(True)), after=3)
    with pytest.raises(
        ComponentError, match=f"index 'recipekit-.*, passage 'p.*: {message} .*then run again"
    ) as told:
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, concurrency=1).build(around(many))
    assert told.value.code == "RK265"
    set_block(None)
    elasticsearch_proxy.seen.clear()
    ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, concurrency=1).build(around(many))
    assert len(elasticsearch_proxy.asked("PUT", "_bulk")) == 3
    assert held(client, elasticsearch_owner) == (ROWS, 0)


def test_a_count_that_is_not_exact_is_an_error(few, elasticsearch_proxy, around):
    elasticsearch_proxy.rule("POST", "_count", Rewrite(lambda reply: {**reply, "count": 2}))
    with pytest.raises(
        ComponentError, match="holds 2 passages instead of 3: remove it, then run again"
    ):
        ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))


# While it is searched
# ------------------------------------------------------------------------------------------------


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
def test_a_search_that_saw_a_part_is_asked_again(few, elasticsearch_proxy, around, change):
    retriever = ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url).build(around(few))
    elasticsearch_proxy.rule("POST", "_msearch", Rewrite(change))
    assert search(retriever, "red", "hen", "fox") == [[0, 2, -1], [1, 2, -1], [0, -1, -1]]
    again = elasticsearch_proxy.asked("POST", "_msearch")[1].body
    assert again.count(b"\n") == {timed_out: 6, shard_failed: 2, rejected: 4}[change], (
        "only what failed"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (timed_out, "a search timed out on the server"),
        (shard_failed, "1 of 2 shards failed: 200 node_disconnected_exception: gone"),
    ],
)
def test_a_list_is_never_silently_short(few, elasticsearch_proxy, around, change, message):
    retriever = ElasticsearchRetrieverSpec(url=elasticsearch_proxy.url, attempts=2).build(
        around(few)
    )
    elasticsearch_proxy.rule("POST", "_msearch", Rewrite(change), times=-1)
    with pytest.raises(
        ComponentError,
        match=rf"index 'recipekit-.*' searched only a part of the index \({message}\)",
    ):
        search(retriever, "red")


def test_our_index_removed_while_it_is_searched(
    few, elasticsearch_url, around, elasticsearch_owner
):
    spec = ElasticsearchRetrieverSpec(url=elasticsearch_url)
    retriever = spec.build(around(few))
    remote = spec.remote()
    (index,) = [index for index in remote.indices() if index.owner == elasticsearch_owner]
    remote.remove(index.name)
    with pytest.raises(
        ComponentError, match=f"index '{index.name}' does not have it .*run again to make it anew"
    ):
        search(retriever, "red")
    assert search(spec.build(around(few)), "red") == [[0, 2, -1]]


def test_an_index_of_others_that_changes(few, elasticsearch_url, around, foreign_index, client):
    index = foreign_index({"a": {"text": "red"}})
    spec = ElasticsearchRetrieverSpec(url=elasticsearch_url, index=index)
    planned = spec.fingerprint()
    retriever = spec.build(around(few))
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
        lambda: spec.build(around(few)),
        lambda: search(retriever, "red"),
    ):
        with pytest.raises(
            ComponentError, match=f"index '{index}' does not have it .*correct `index`"
        ) as told:
            ask()
        assert told.value.code == "RK264"
