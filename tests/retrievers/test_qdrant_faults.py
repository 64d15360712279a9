"""What goes wrong at a server, and what becomes of it: a wait, or one clear error.

Never a shorter list.
"""

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

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    queries = [(f"q{n}", f"query {n}", "train") for n in range(QUERIES)]
    return make_dataset(
        queries, [(f"p{n}", f"passage {n}") for n in range(PASSAGES)], {(0, 0): 1.0}
    )


@pytest.fixture
def around(tmp_path: Path, dataset: Dataset) -> Context:
    random = np.random.default_rng(5)
    matrices = {
        "query": random.standard_normal((QUERIES, DIMENSION)),
        "passage": random.standard_normal((PASSAGES, DIMENSION)),
    }

    def embeddings(name: str, side: str) -> Embeddings:
        return Embeddings(
            tmp_path / side, matrices[side].astype(np.float32), normalized=False, key=side
        )

    return context(tmp_path / "scratch", dataset=dataset, embeddings=embeddings, owner=OWNER)


@pytest.fixture
def everyone(dataset: Dataset) -> QueryBatch:
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
            "attempts": 3,
            **fields,
        }
    )


def collection(found: QdrantSpec) -> str:
    [index] = [index for index in found.remote().indices() if index.owner == OWNER]
    return index.name


def held(url: str, name: str, key: str | None = None) -> int:
    client = QdrantClient(
        url=url, headers={"api-key": key} if key else None, check_compatibility=False
    )
    try:
        return client.count(name, exact=True).count
    finally:
        client.close()


# What passes
# ---------------------------------------------------------------------------------------------------------

PASSING = {
    "too many requests": Answer(429, {"Retry-After": "0"}),
    "too many requests until a date": Answer(
        429, {"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}
    ),
    "unavailable": Answer(503, {"Retry-After": "0"}),
    "a fault": Answer(
        500, {}, {"status": {"error": "Service internal error: 1 of 1 read operations failed"}}
    ),
    "a time-out on a shard": Answer(
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
    ("GET", "/exists"),
]


@pytest.mark.parametrize(
    ("action", "request_"),
    [
        *((action, LOADING) for action in PASSING),
        *((action, SEARCHING) for action in PASSING),
        *(("unavailable", other) for other in OTHERS),
    ],
)
def test_what_passes_is_waited_for(action, request_, proxy, around, everyone, qdrant):
    proxy.rule(*request_, PASSING[action], times=2)
    retriever = spec(proxy.url).build(around)

    hits = retriever.search(everyone, 10)
    assert (hits.rows >= 0).all()
    assert held(qdrant.url, collection(spec(qdrant.url))) == PASSAGES


STAYING: Mapping[str, tuple[Any, str, str]] = {
    "too many requests": (Answer(429, {"Retry-After": "0"}), "RK262", "turns requests away (429"),
    "unavailable": (Answer(503), "RK262", "turns requests away (503"),
    "a fault": (
        Answer(500, {}, {"status": {"error": "panicked"}}),
        "RK266",
        "fails (500 panicked): look into the server's log",
    ),
    "no time": (Answer(504), "RK261", "did not answer in time (504"),
    "a full disk": (
        Answer(
            500,
            {},
            {
                "status": {
                    "error": "Service internal error: No space left on device: WAL buffer size exceeds available disk"
                }
            },
        ),
        "RK265",
        "free or add space on the server's disk",
    ),
    "a connection cut": (Cut(), "RK260", "broke the connection"),
    "no JSON": (Answer(200, {}, b"<html>a login page"), "RK268", "does not understand"),
    "forbidden": (
        Answer(403, {}, {"status": {"error": "Forbidden: Write access"}}),
        "RK263",
        "does not allow this (403 Forbidden: Write",
    ),
}


@pytest.mark.parametrize(("action", "code", "says"), STAYING.values(), ids=STAYING)
@pytest.mark.parametrize(
    "request_", [("PUT", "/points"), ("POST", "/query/batch")], ids=["loading", "searching"]
)
def test_what_stays_is_one_clear_error(
    action, code, says, request_, proxy, around, everyone, qdrant
):
    proxy.rule(*request_, action, times=-1)
    with pytest.raises(ComponentError) as raised:
        spec(proxy.url).build(around).search(everyone, 10)

    name = collection(spec(qdrant.url))
    assert raised.value.code == code
    assert raised.value.message.startswith(f"Qdrant at {proxy.url}, collection '{name}' ")
    assert says in raised.value.message
    assert "\n" not in raised.value.message


def test_a_list_that_is_too_short_is_asked_for_again_and_then_an_error(proxy, around, everyone):
    def shorter(reply: dict[str, Any]) -> dict[str, Any]:
        answers = [{"points": answer["points"][:3]} for answer in reply["result"]]
        return {**reply, "result": answers}

    approximate = spec(proxy.url, exact=False, recall_sample=0).build(around)
    proxy.rule("POST", "/query/batch", Rewrite(shorter), times=1)
    assert (approximate.search(everyone, 10).rows >= 0).all()
    assert approximate.counts["asked_again_exactly"] == QUERIES

    proxy.rule("POST", "/query/batch", Rewrite(shorter), times=-1)
    with pytest.raises(
        ComponentError, match="gave 3 passages where 10 were asked for and 1000 were loaded"
    ):
        approximate.search(everyone, 10)


def test_a_request_without_an_answer_is_given_up_and_told(proxy, around, everyone, qdrant):
    spec(qdrant.url).build(around)
    import threading

    over = threading.Event()
    proxy.rule("POST", "/query/batch", Call(over.wait), times=-1)
    try:
        with pytest.raises(
            ComponentError, match=re.escape("did not answer in time (timed out): raise `timeout`")
        ):
            spec(proxy.url, timeout=1, attempts=1).build(around).search(everyone, 10)
    finally:
        over.set()


# Versions
# ------------------------------------------------------------------------------------------------------------


def test_versions_that_clash(proxy, around):
    for version in ("1.15.4", "2.0.0"):
        proxy.rule("GET", "/", Answer(200, {}, {"title": "qdrant", "version": version}))
    with pytest.raises(
        ComponentError, match=r"is version 1\.15\.4; recipekit needs 1\.16 or later"
    ):
        spec(proxy.url).build(around)
    with pytest.raises(
        ComponentError, match=r"is version 2\.0\.0, and qdrant-client 1\.\S+ does not speak to it"
    ):
        spec(proxy.url).build(around)


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(405), Answer(200, {}, {"name": "node", "version": {"number": "8.19.3"}})],
)
def test_another_product(proxy, around, answer):
    proxy.rule("GET", "/", answer)
    with pytest.raises(
        ComponentError,
        match=rf"Qdrant at {proxy.url} does not answer as Qdrant does \(.*\): correct `url`",
    ) as told:
        spec(proxy.url).build(around)
    assert told.value.code == "RK268"
    assert "\n" not in told.value.message


def test_the_grpc_port_as_url(qdrant, around):
    with pytest.raises(
        ComponentError, match=r"does not answer as Qdrant does .*which wants its REST port"
    ):
        spec(f"http://127.0.0.1:{qdrant.grpc_port}").build(around)


def test_versions_somewhat_apart_are_a_warning(proxy, around):
    proxy.rule("GET", "/", Answer(200, {}, {"title": "qdrant", "version": "1.29.0"}))
    spec(proxy.url).build(around)
    assert "if anything fails, install qdrant-client 1.29" in around.progress.warnings[0]


# A server of our own: keys, kills, disks
# -----------------------------------------------------------------------------


def test_nobody_answers(around, start_qdrant):
    server = start_qdrant()
    server.kill()
    with pytest.raises(
        ComponentError,
        match=rf"Qdrant at {server.url} cannot be reached \(.*refused\): start it, or correct `url`",
    ):
        spec(server.url).build(around)
    with pytest.raises(ComponentError, match="cannot be reached"):
        spec(server.url, collection="papers").fingerprint()
    with pytest.raises(ComponentError, match="cannot be reached"):
        spec(server.url).reach()
    spec(server.url, where="embedded").reach()


def test_a_server_is_asked_before_anything_is_encoded(around, start_qdrant):
    server = start_qdrant()
    spec(server.url).reach()
    server.kill()
    encoded = []
    watched = replace(around, embeddings=lambda name, side: encoded.append(side))
    with pytest.raises(ComponentError, match="cannot be reached"):
        spec(server.url).build(watched)
    assert not encoded


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_keys(protocol, around, everyone, start_qdrant):
    server = start_qdrant(api_key=KEY, read_only_key="for reading")
    ways = {"protocol": protocol, "grpc_port": server.grpc_port}
    for key in (None, "a wrong key"):
        with pytest.raises(
            ComponentError,
            match=r"refuses the credentials \(.*\): give a valid key as api_key: \${env:NAME}",
        ):
            spec(server.url, api_key=key, **ways).build(around)
    with pytest.raises(
        ComponentError,
        match=r"does not allow this \(.*\): give a key that may create and write collections",
    ):
        spec(server.url, api_key="for reading", **ways).build(around)

    spec(server.url, api_key=KEY, **ways).build(around)
    hits = (
        spec(server.url, api_key="for reading", **ways).build(around).search(everyone, 10)
    )  # what is there needs no writing
    assert (hits.rows >= 0).all()


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_server_killed_while_loading_and_back_in_time(protocol, around, everyone, start_qdrant):
    server = start_qdrant()
    with Proxy(server.url) as proxy:
        # REST alone goes through the proxy: for gRPC the kill comes with the request after loading.
        part = ("PUT", "/points") if protocol == "rest" else ("POST", "/points/count")
        proxy.rule(
            *part,
            Call(lambda: (server.kill(), server.start())),
            after=4 if protocol == "rest" else 0,
        )
        retriever = spec(
            proxy.url, protocol=protocol, grpc_port=server.grpc_port, attempts=50
        ).build(around)
        assert (retriever.search(everyone, 10).rows >= 0).all()
    assert held(server.url, collection(spec(server.url))) == PASSAGES


def test_a_disk_that_fills_while_loading(tmp_path, dataset, start_qdrant):
    server = start_qdrant(disk="24m")
    vectors = np.random.default_rng(0).standard_normal((30_000, 128)).astype(np.float32)
    around = context(
        tmp_path,
        dataset=dataset,
        owner=OWNER,
        embeddings=lambda name, side: Embeddings(
            tmp_path, vectors[: QUERIES if side == "query" else None], False
        ),
    )
    with pytest.raises(
        ComponentError,
        match=r"cannot write \(.*No space left on device.*\): free or add space on the server's disk",
    ) as raised:
        spec(server.url, protocol="grpc", grpc_port=server.grpc_port, batch_size=500).build(around)
    assert raised.value.code == "RK265"


def test_a_server_killed_while_loading_and_back_later(around, everyone, start_qdrant):
    server = start_qdrant()
    with Proxy(server.url) as proxy:
        proxy.rule("PUT", "/points", Call(server.kill), after=4)
        with pytest.raises(
            ComponentError, match=r"run again; what is loaded stays loaded|cannot be reached"
        ):
            spec(proxy.url, attempts=2).build(around)
    server.start()
    name = collection(spec(server.url))
    before = held(server.url, name)
    assert 0 < before < PASSAGES

    with Proxy(server.url) as proxy:
        retriever = spec(proxy.url).build(around)
        assert len(proxy.asked("PUT", "/points")) < PASSAGES / 100 + 1
        assert (retriever.search(everyone, 10).rows >= 0).all()
    assert held(server.url, name) == PASSAGES
    assert any(
        f"{before} of {PASSAGES} points are there from an earlier attempt" in str(event)
        for event in around.progress.events
    )


def test_only_blocks_that_are_not_whole_are_loaded_again(around, qdrant, proxy, monkeypatch):
    monkeypatch.setattr("recipekit.retrievers.qdrant_load.BLOCK", 200)
    spec(qdrant.url).build(around)
    name = collection(spec(qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.delete(name, [450], wait=True)
    client.close()

    spec(proxy.url).build(around)
    assert len(proxy.asked("PUT", "/points")) == 2
    assert held(qdrant.url, name) == PASSAGES
    assert (
        "held 1000 points when it was done and now holds 999: somebody changed it"
        in around.progress.warnings[0]
    )


def test_points_that_are_not_ours_in_a_collection_of_ours(around, qdrant):
    spec(qdrant.url).build(around)
    name = collection(spec(qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.upload_collection(
        name, vectors=np.ones((1, DIMENSION), np.float32), ids=[PASSAGES + 5], wait=True
    )
    client.close()
    with pytest.raises(
        ComponentError, match=r"holds 1001 points of 1000 passages: somebody wrote to it; delete it"
    ):
        spec(qdrant.url).build(around)


def test_a_collection_deleted_while_it_is_searched(around, everyone, qdrant):
    found = spec(qdrant.url)
    retriever = found.build(around)
    found.remote().remove(collection(found))
    with pytest.raises(ComponentError, match=r"does not have it .*run again to make it anew"):
        retriever.search(everyone, 10)


def test_a_name_of_ours_without_our_mark_is_left_alone(around, qdrant):
    spec(qdrant.url).build(around)
    name = collection(spec(qdrant.url))
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    client.update_collection(name, metadata={"recipekit": {"made_by": "somebody"}})
    remote = spec(qdrant.url).remote()
    try:
        assert name not in [index.name for index in remote.indices()]
        with pytest.raises(ComponentError, match="was not made by recipekit, and is not removed"):
            remote.remove(name)
        with pytest.raises(ComponentError, match="does not bear recipekit's mark"):
            spec(qdrant.url).build(around)
    finally:
        client.delete_collection(name)
        client.close()
