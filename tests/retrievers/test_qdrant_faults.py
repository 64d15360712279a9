"""Failures of a Qdrant server: a retry or one clear error, never a shorter list."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from recipekit.component import Context, Embeddings, QueryBatch
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError
from recipekit.retrievers.qdrant import QdrantSpec
from recipekit.testing import context
from servers.proxy import Answer, Call, Cut, Proxy, Rewrite

PASSAGES, QUERIES, DIMENSION = 1000, 8, 16
OWNER = "recipekit-test-faults"
KEY = "the right key"

pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    queries = [(f"q{n}", f"query {n}", "train") for n in range(QUERIES)]
    return make_dataset(
        queries, [(f"p{n}", f"passage {n}") for n in range(PASSAGES)], {(0, 0): 1.0}
    )


@pytest.fixture
def run_context(tmp_path: Path, dataset: Dataset) -> Context:
    random = np.random.default_rng(5)
    matrices = {
        "query": random.standard_normal((QUERIES, DIMENSION)),
        "passage": random.standard_normal((PASSAGES, DIMENSION)),
    }

    def embeddings(name: str, side: str) -> Embeddings:
        return Embeddings(
            tmp_path / side, matrices[side].astype(np.float32), similarity="dot", key=side
        )

    return context(tmp_path / "scratch", dataset=dataset, embeddings=embeddings, owner=OWNER)


@pytest.fixture
def all_queries(dataset: Dataset) -> QueryBatch:
    rows = np.arange(QUERIES)
    return QueryBatch(rows, dataset.queries.texts(rows))


@pytest.fixture
def proxy(qdrant):
    with Proxy(qdrant.url) as proxy:
        yield proxy


def spec(url: str, **fields: Any) -> QdrantSpec:
    return QdrantSpec(
        **{
            "encoder": "student",
            "url": url,
            "depth": 10,
            "exact": True,
            "batch_size": 100,
            "max_retries": 2,
            **fields,
        }
    )


def collection(found: QdrantSpec) -> str:
    [index] = [index for index in found.remote().indices() if index.owner == OWNER]
    return index.name


def count_points(url: str, name: str, key: str | None = None) -> int:
    client = QdrantClient(
        url=url, headers={"api-key": key} if key else None, check_compatibility=False
    )
    try:
        return client.count(name, exact=True).count
    finally:
        client.close()


# Temporary failures
# ------------------------------------------------------------------------------------------

TEMPORARY = {
    "too many requests": Answer(429, {"Retry-After": "0"}),
    "too many requests until a date": Answer(
        429, {"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}
    ),
    "unavailable": Answer(503, {"Retry-After": "0"}),
    "an internal error": Answer(
        500, {}, {"status": {"error": "Service internal error: 1 of 1 read operations failed"}}
    ),
    "a timeout on a shard": Answer(
        500,
        {},
        {"status": {"error": "Timeout error: Operation 'Search' timed out after 60 seconds"}},
    ),
    "a connection cut before": Cut(),
    "a connection cut after": Cut(after=True),
}


LOADING, SEARCHING = ("PUT", "/points"), ("POST", "/query/batch")
OTHERS = [
    ("PATCH", "/collections/"),
    ("PUT", "/collections/recipekit-"),
    ("POST", "/count"),
    ("GET", "/collections/recipekit-"),
]


@pytest.mark.parametrize(
    ("action", "request_"),
    [
        *((action, LOADING) for action in TEMPORARY),
        *((action, SEARCHING) for action in TEMPORARY),
        *(("unavailable", other) for other in OTHERS),
    ],
)
def test_a_temporary_failure_is_retried(action, request_, proxy, run_context, all_queries, qdrant):
    proxy.rule(*request_, TEMPORARY[action], times=2)
    retriever = spec(proxy.url).build(run_context)

    hits = retriever.search(all_queries, 10)
    assert (hits.rows >= 0).all()
    assert count_points(qdrant.url, collection(spec(qdrant.url))) == PASSAGES


PERMANENT: Mapping[str, tuple[Any, str, str]] = {
    "too many requests": (Answer(429, {"Retry-After": "0"}), "RK262", "rejects requests (429"),
    "unavailable": (Answer(503), "RK262", "rejects requests (503"),
    "an internal error": (
        Answer(500, {}, {"status": {"error": "panicked"}}),
        "RK266",
        "failed (500 panicked): check the server's log",
    ),
    "a timeout": (Answer(504), "RK261", "did not answer in time (504"),
    "a full disk": (
        Answer(
            500,
            {},
            {
                "status": {
                    "error": "Service internal error: No space left on device: WAL buffer size "
                    "exceeds available disk"
                }
            },
        ),
        "RK265",
        "free or add space",
    ),
    "a connection cut": (Cut(), "RK260", "dropped the connection"),
    "not JSON": (Answer(200, {}, b"<html>a login page"), "RK268", "does not understand"),
    "forbidden": (
        Answer(403, {}, {"status": {"error": "Forbidden: Write access"}}),
        "RK263",
        "denies permission (403 Forbidden: Write",
    ),
}


@pytest.mark.parametrize(("action", "code", "message"), PERMANENT.values(), ids=PERMANENT)
@pytest.mark.parametrize(
    "request_", [("PUT", "/points"), ("POST", "/query/batch")], ids=["loading", "searching"]
)
def test_a_lasting_failure_is_one_clear_error(
    action, code, message, request_, proxy, run_context, all_queries, qdrant
):
    proxy.rule(*request_, action, times=-1)
    with pytest.raises(ComponentError) as raised:
        spec(proxy.url).build(run_context).search(all_queries, 10)

    name = collection(spec(qdrant.url))
    assert raised.value.code == code
    assert raised.value.message.startswith(f"Qdrant at {proxy.url}, collection '{name}' ")
    assert message in raised.value.message
    assert "\n" not in raised.value.message


def test_a_short_list_is_searched_exactly_and_then_an_error(proxy, run_context, all_queries):
    def shorter(reply: dict[str, Any]) -> dict[str, Any]:
        answers = [{"points": answer["points"][:3]} for answer in reply["result"]]
        return {**reply, "result": answers}

    approximate = spec(proxy.url, exact=False, recall_sample=0).build(run_context)
    proxy.rule("POST", "/query/batch", Rewrite(shorter), times=1)
    assert (approximate.search(all_queries, 10).rows >= 0).all()
    assert approximate.counts["exact_fallbacks"] == QUERIES

    proxy.rule("POST", "/query/batch", Rewrite(shorter), times=-1)
    with pytest.raises(
        ComponentError, match="returned 3 instead of 10 hits, although 1000 passages were loaded"
    ):
        approximate.search(all_queries, 10)


def test_a_request_without_a_reply_times_out(proxy, run_context, all_queries, qdrant):
    spec(qdrant.url).build(run_context)
    import threading

    over = threading.Event()
    proxy.rule("POST", "/query/batch", Call(over.wait), times=-1)
    try:
        with pytest.raises(
            ComponentError, match=re.escape("did not answer in time (timed out): raise `timeout`")
        ):
            spec(proxy.url, timeout=1, max_retries=0).build(run_context).search(all_queries, 10)
    finally:
        over.set()


# Versions
# ------------------------------------------------------------------------------------------


def test_an_incompatible_version_is_an_error(proxy, run_context):
    for version in ("1.15.4", "2.0.0"):
        proxy.rule("GET", "/", Answer(200, {}, {"title": "qdrant", "version": version}))
    with pytest.raises(
        ComponentError, match=r"is version 1\.15\.4; recipekit needs 1\.16 or later"
    ):
        spec(proxy.url).build(run_context)
    with pytest.raises(
        ComponentError, match=r"is version 2\.0\.0, which qdrant-client 1\.\S+ does not support"
    ):
        spec(proxy.url).build(run_context)


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(405), Answer(200, {}, {"name": "node", "version": {"number": "8.19.3"}})],
)
def test_another_product_is_an_error(proxy, run_context, answer):
    proxy.rule("GET", "/", answer)
    with pytest.raises(
        ComponentError,
        match=rf"Qdrant at {proxy.url} is not Qdrant's REST interface \(.*\): correct `url`",
    ) as raised:
        spec(proxy.url).build(run_context)
    assert raised.value.code == "RK268"
    assert "\n" not in raised.value.message


def test_the_grpc_port_as_url_is_an_error(qdrant, run_context):
    with pytest.raises(ComponentError, match=r"is not Qdrant's REST interface \(.*: correct `url`"):
        spec(f"http://127.0.0.1:{qdrant.grpc_port}").build(run_context)


def test_a_version_two_minors_away_is_a_warning(proxy, run_context):
    proxy.rule("GET", "/", Answer(200, {}, {"title": "qdrant", "version": "1.29.0"}))
    spec(proxy.url).build(run_context)
    assert "if a request fails, install qdrant-client 1.29" in run_context.progress.warnings[0]


# A server of one test: keys, kills, full disks
# -----------------------------------------------------------------------------


def test_a_server_that_is_down_is_an_error(run_context, start_qdrant):
    server = start_qdrant()
    server.kill()
    with pytest.raises(
        ComponentError,
        match=rf"Qdrant at {server.url} cannot be reached \(.*refused\): start it, or correct",
    ):
        spec(server.url).build(run_context)
    with pytest.raises(ComponentError, match="cannot be reached"):
        spec(server.url, collection="papers").fingerprint()
    with pytest.raises(ComponentError, match="cannot be reached"):
        spec(server.url).reach()


def test_the_server_is_reached_before_anything_is_encoded(run_context, start_qdrant):
    server = start_qdrant()
    spec(server.url).reach()
    server.kill()
    encoded = []
    watched = replace(run_context, embeddings=lambda name, side: encoded.append(side))
    with pytest.raises(ComponentError, match="cannot be reached"):
        spec(server.url).build(watched)
    assert not encoded


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_wrong_and_read_only_keys_are_errors(protocol, run_context, all_queries, start_qdrant):
    server = start_qdrant(api_key=KEY, read_only_key="for reading")
    ways = {"protocol": protocol, "grpc_port": server.grpc_port}
    for key in (None, "a wrong key"):
        with pytest.raises(
            ComponentError,
            match=r"rejects the credentials \(.*\): set a valid key as api_key: \${env:NAME}",
        ):
            spec(server.url, api_key=key, **ways).build(run_context)
    with pytest.raises(
        ComponentError,
        match=r"denies permission \(.*\): use a key that may create and write collections",
    ):
        spec(server.url, api_key="for reading", **ways).build(run_context)

    spec(server.url, api_key=KEY, **ways).build(run_context)
    hits = (
        spec(server.url, api_key="for reading", **ways).build(run_context).search(all_queries, 10)
    )  # an existing collection is only read
    assert (hits.rows >= 0).all()


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_loading_continues_after_a_server_restart(protocol, run_context, all_queries, start_qdrant):
    server = start_qdrant()
    with Proxy(server.url) as proxy:
        # Only REST goes through the proxy; with gRPC, the server dies at the request after loading.
        part = ("PUT", "/points") if protocol == "rest" else ("POST", "/points/count")
        proxy.rule(
            *part,
            Call(lambda: (server.kill(), server.start())),
            after=4 if protocol == "rest" else 0,
        )
        retriever = spec(
            proxy.url, protocol=protocol, grpc_port=server.grpc_port, max_retries=49
        ).build(run_context)
        assert (retriever.search(all_queries, 10).rows >= 0).all()
    assert count_points(server.url, collection(spec(server.url))) == PASSAGES


def test_a_disk_that_fills_while_loading_is_an_error(tmp_path, dataset, start_qdrant):
    server = start_qdrant(disk="24m")
    vectors = np.random.default_rng(0).standard_normal((30_000, 128)).astype(np.float32)
    run_context = context(
        tmp_path,
        dataset=dataset,
        owner=OWNER,
        embeddings=lambda name, side: Embeddings(
            tmp_path, vectors[: QUERIES if side == "query" else None], "dot"
        ),
    )
    with pytest.raises(
        ComponentError,
        match=r"disk is full \(.*No space left on device.*\): free or add space",
    ) as raised:
        spec(server.url, protocol="grpc", grpc_port=server.grpc_port, batch_size=500).build(
            run_context
        )
    assert raised.value.code == "RK265"


def test_the_next_run_resumes_an_interrupted_load(run_context, all_queries, start_qdrant):
    server = start_qdrant()
    with Proxy(server.url) as proxy:
        proxy.rule("PUT", "/points", Call(server.kill), after=4)
        with pytest.raises(
            ComponentError, match=r"run again; what is loaded is kept|cannot be reached"
        ):
            spec(proxy.url, max_retries=1).build(run_context)
    server.start()
    name = collection(spec(server.url))
    before = count_points(server.url, name)
    assert 0 < before < PASSAGES

    with Proxy(server.url) as proxy:
        retriever = spec(proxy.url).build(run_context)
        assert len(proxy.requests("PUT", "/points")) < PASSAGES / 100 + 1
        assert (retriever.search(all_queries, 10).rows >= 0).all()
    assert count_points(server.url, name) == PASSAGES
    assert any(
        f"{before} of {PASSAGES} points are kept from an earlier run" in str(event)
        for event in run_context.progress.events
    )


def test_only_incomplete_blocks_are_loaded_again(run_context, qdrant, proxy, monkeypatch):
    monkeypatch.setattr("recipekit.engines.qdrant.load.BLOCK_ROWS", 200)
    spec(qdrant.url).build(run_context)
    name = collection(spec(qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.delete(name, [450], wait=True)
    client.close()

    spec(proxy.url).build(run_context)
    assert len(proxy.requests("PUT", "/points")) == 2
    assert count_points(qdrant.url, name) == PASSAGES
    assert (
        "held 1000 points when it was complete and now holds 999: someone changed it"
        in run_context.progress.warnings[0]
    )


def test_additional_points_in_a_collection_are_an_error(run_context, qdrant):
    spec(qdrant.url).build(run_context)
    name = collection(spec(qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.upload_collection(
        name, vectors=np.ones((1, DIMENSION), np.float32), ids=[PASSAGES + 5], wait=True
    )
    client.close()
    with pytest.raises(
        ComponentError,
        match=r"holds 1001 points for 1000 passages: someone else changed it; delete it",
    ):
        spec(qdrant.url).build(run_context)


def test_a_collection_deleted_during_the_search_is_an_error(run_context, all_queries, qdrant):
    found = spec(qdrant.url)
    retriever = found.build(run_context)
    found.remote().remove(collection(found))
    with pytest.raises(
        ComponentError,
        match=r"does not exist .*run again, which creates recipekit's own collection again",
    ):
        retriever.search(all_queries, 10)


def test_a_collection_without_an_ownership_tag_is_not_touched(run_context, qdrant):
    spec(qdrant.url).build(run_context)
    name = collection(spec(qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.update_collection(name, metadata={"recipekit": {"made_by": "someone"}})
    remote = spec(qdrant.url).remote()
    try:
        assert name not in [index.name for index in remote.indices()]
        with pytest.raises(ComponentError, match="was not made by recipekit, and is not removed"):
            remote.remove(name)
        with pytest.raises(ComponentError, match="has no ownership tag of recipekit"):
            spec(qdrant.url).build(run_context)
    finally:
        client.delete_collection(name)
        client.close()
