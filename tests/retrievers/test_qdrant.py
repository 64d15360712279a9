import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from recipekit.component import Context, Embeddings, QueryBatch
from recipekit.dataset import Dataset
from recipekit.errors import ComponentError
from recipekit.retrievers.qdrant import QdrantSpec
from recipekit.search.topk import exact_top_k
from recipekit.testing import RecordingProgress, check_retriever, context

PASSAGES, QUERIES, DIMENSION = 5000, 50, 32
OWNER = "recipekit-test"


@pytest.fixture(scope="module")
def matrices() -> dict[str, Any]:
    """Unit vectors around 50 centres, as encoders make them of texts on 50 topics; passage 4999 is
    passage 7 again.
    """
    random = np.random.default_rng(3)
    centres = random.standard_normal((QUERIES, DIMENSION))
    made = {}
    for side, count in (("query", QUERIES), ("passage", PASSAGES)):
        vectors = centres[np.arange(count) % QUERIES] + 0.6 * random.standard_normal(
            (count, DIMENSION)
        )
        made[side] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    made["passage"][4999] = made["passage"][7]
    return made


@pytest.fixture
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    queries = [(f"q{n}", f"query {n}", "train") for n in range(QUERIES)]
    return make_dataset(
        queries, [(f"p{n}", f"passage {n}") for n in range(PASSAGES)], {(0, 0): 1.0}
    )


@pytest.fixture
def around(tmp_path: Path, dataset: Dataset, matrices: dict[str, Any]) -> Context:
    """The context of a run over `matrices`."""

    def embeddings(name: str, side: str) -> Embeddings:
        return Embeddings(tmp_path / side, matrices[side], normalized=True, key=f"test-{side}")

    return context(tmp_path / "scratch", dataset=dataset, embeddings=embeddings, owner=OWNER)


@pytest.fixture
def everyone(dataset: Dataset) -> QueryBatch:
    rows = np.arange(QUERIES)
    return QueryBatch(rows, dataset.queries.texts(rows))


@pytest.fixture
def at(qdrant) -> Callable[..., QdrantSpec]:
    """`at(exact=True)`: a spec for the session's server."""
    return lambda **fields: QdrantSpec(
        **{
            "encoder": "student",
            "url": qdrant.url,
            "grpc_port": qdrant.grpc_port,
            "depth": 10,
            **fields,
        }
    )


@pytest.fixture
def client(qdrant):
    client = QdrantClient(url=qdrant.url, check_compatibility=False)
    yield client
    client.close()


def told(around: Context) -> list[str]:
    progress = around.progress
    assert isinstance(progress, RecordingProgress)
    return [event["message"] for event in progress.events if event["event"] == "told"]


def test_conformance(at, around):
    check_retriever(at(exact=True), around)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_exact_search_finds_what_exact_finds(protocol, at, around, matrices, everyone):
    hits = at(exact=True, protocol=protocol).build(around).search(everyone, 10)

    truth = exact_top_k(matrices["query"], matrices["passage"], 10)
    np.testing.assert_array_equal(hits.rows, truth.rows)
    np.testing.assert_allclose(hits.scores, truth.scores, atol=2e-3)


def test_of_equal_scores_the_lower_row_stands_first(at, around, matrices, everyone):
    matrices["query"][7] = matrices["passage"][7]
    hits = at(exact=True).build(around).search(everyone, 2)
    assert hits.rows[7].tolist() == [7, 4999]


def test_a_second_run_reuses_what_the_first_one_loaded(at, around, client, everyone):
    first = at().build(around).search(everyone, 10)
    second = at(concurrency=1, batch_size=17).build(around).search(everyone, 10)

    loaded = [event["loaded"] for event in around.progress.events if event["event"] == "qdrant"]
    assert loaded == [True, False]
    np.testing.assert_array_equal(first.rows, second.rows)


def test_a_collection_says_whose_it_is_and_what_is_in_it(at, around, client):
    at(exact=True).build(around)

    [index] = [index for index in at().remote().indices() if index.owner == OWNER]
    assert (index.corpus, index.rows) == (around.corpus, PASSAGES)
    info = client.get_collection(index.name)
    assert info.config.metadata["recipekit"]["complete"] is True
    assert info.config.params.vectors.datatype == models.Datatype.FLOAT16


def test_other_settings_make_another_collection_and_other_ways_to_search_do_not(at, around):
    for fields in (
        {},
        {"hnsw": {"ef": 64}},
        {"protocol": "grpc"},
        {"hnsw": {"m": 32}},
        {"distance": "cosine"},
        {"exact": True},
    ):
        at(**fields).build(around)
    assert len([index for index in at().remote().indices() if index.owner == OWNER]) == 4


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize(
    "quantization", [None, {"kind": "scalar"}, {"kind": "product", "compression": "x4"}]
)
def test_what_approximate_search_loses_is_measured_and_told(quantization, protocol, at, around):
    retriever = at(quantization=quantization, protocol=protocol).build(around)

    assert 0.9 < retriever.counts["recall_against_exact"] <= 1
    assert told(around) == [
        f"qdrant: recall@10 against exact search is {retriever.measured:.4f} on {QUERIES} queries"
    ]


def test_binary_quantization_is_what_the_collection_has(at, around, client):
    retriever = at(quantization={"kind": "binary", "always_ram": False}, on_disk=True).build(around)
    vectors = client.get_collection(retriever.points.collection).config.params.vectors
    assert vectors.quantization_config == models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(always_ram=False)
    )
    assert vectors.on_disk is True
    assert (
        retriever.counts["recall_against_exact"] > 0.3
    )  # a bit of each of 32 dimensions says little


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_graph_is_built_after_loading_and_waited_for(protocol, at, around, client, monkeypatch):
    monkeypatch.setattr("recipekit.retrievers.qdrant_load.INDEX_FROM_KB", 10)
    retriever = at(hnsw={"m": 8}, protocol=protocol).build(around)

    info = client.get_collection(retriever.points.collection)
    assert info.status == models.CollectionStatus.GREEN
    assert info.indexed_vectors_count == PASSAGES
    assert info.config.hnsw_config.m == 8
    assert retriever.measured > 0.9


def test_a_warning_says_what_raises_a_low_recall(at, around, monkeypatch):
    monkeypatch.setattr("recipekit.retrievers.qdrant_build.LOW_RECALL", 1.1)
    at().build(around)
    assert around.progress.warnings == [
        "qdrant: recall@10 against exact search is 1.0000 on 50 queries: raise `hnsw.ef`, `hnsw.m` or `quantization.oversampling`, "
        "or set `exact: true`"
    ]


def test_a_depth_beyond_the_corpus_is_padded(at, tmp_path, make_dataset):
    few = make_dataset([("q", "query", "train")], [("a", "a"), ("b", "b")], {(0, 0): 1.0})
    vectors = np.eye(2, dtype=np.float32)

    def embeddings(name, side):
        return Embeddings(tmp_path, vectors[:1] if side == "query" else vectors, True, side)

    retriever = at().build(context(tmp_path, dataset=few, embeddings=embeddings, owner=OWNER))
    assert retriever.search(QueryBatch(np.array([0]), ["query"]), 4).rows.tolist() == [
        [0, 1, -1, -1]
    ]


# Collections that exist
# ----------------------------------------------------------------------------------------------


@pytest.fixture
def existing(client, matrices) -> str:
    """A collection of somebody's: ids in the payload, a named vector, and 50 passages that were not
    collected.
    """
    name = f"{OWNER}-existing"
    client.create_collection(
        name,
        vectors_config={"text": models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)},
    )
    vectors = np.concatenate([matrices["passage"], -matrices["passage"][:50]]).astype(np.float32)
    payload = [
        {"docid": f"p{row}" if row < PASSAGES else f"strange{row}"} for row in range(len(vectors))
    ]
    client.upload_collection(
        name,
        vectors={"text": vectors},
        payload=payload,
        ids=[row + 1000 for row in range(len(vectors))],
        wait=True,
    )
    return name


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_an_existing_collection_is_searched_by_the_ids_in_its_payload(
    protocol, at, around, existing, matrices, everyone
):
    retriever = at(collection=existing, id_field="docid", vector="text", protocol=protocol).build(
        around
    )

    hits = retriever.search(everyone, 10)
    np.testing.assert_array_equal(
        hits.rows, exact_top_k(matrices["query"], matrices["passage"], 10).rows
    )
    assert retriever.counts["unknown"] == 0
    assert [index for index in at().remote().indices() if index.name == existing] == []


def test_too_many_hits_that_were_not_collected_are_an_error(
    at, around, existing, matrices, everyone
):
    matrices = {**matrices, "query": -matrices["query"]}
    around = context(
        around.scratch,
        dataset=around.dataset,
        embeddings=lambda name, side: Embeddings(around.scratch, matrices[side], True, side),
    )
    spec = {"collection": existing, "id_field": "docid", "vector": "text", "recall_sample": 0}
    lenient = at(**spec, max_unknown=1.0).build(around)
    lenient.search(everyone, 10)
    assert lenient.counts["unknown"] > 50
    with pytest.raises(
        ComponentError,
        match=rf"'{existing}'.* hits are passages that were not collected, 'strange50\d\d' for one",
    ):
        at(**spec).build(around).search(everyone, 10)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "has no vectors without a name: it has 'text'; say which as `vector`"),
        ({"vector": "txt"}, "has no vectors called 'txt': it has 'text'"),
        ({"vector": "text", "id_field": "id"}, "has no 'id' in its payload; correct `id_field`"),
        (
            {"collection": f"{OWNER}-none", "vector": "text"},
            f"collection '{OWNER}-none' does not have it",
        ),
    ],
)
def test_an_existing_collection_that_does_not_fit(fields, says, at, around, existing):
    with pytest.raises(ComponentError, match=says):
        at(**{"collection": existing, **fields}).build(around)


def test_a_collection_of_another_encoder(at, around, client):
    name = f"{OWNER}-small"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT)
    )
    with pytest.raises(
        ComponentError,
        match="holds vectors of 3 dimensions, and encoder 'student' makes 32: name the encoder",
    ):
        at(collection=name).build(around)


def test_a_fingerprint_changes_when_the_collection_does(at, client, existing):
    spec = at(collection=existing, id_field="docid", vector="text")
    before = spec.fingerprint()
    assert spec.fingerprint() == before

    client.upsert(
        existing,
        [models.PointStruct(id=1000, vector={"text": [1.0] * DIMENSION}, payload={"docid": "p0"})],
        wait=True,
    )
    other_vector = spec.fingerprint()
    client.delete(existing, [5000], wait=True)
    assert (
        len({str(sorted(state.items())) for state in (before, other_vector, spec.fingerprint())})
        == 3
    )
    client.delete_collection(existing)
    with pytest.raises(ComponentError, match=f"collection '{existing}' does not have it"):
        spec.fingerprint()


def test_of_ours_nothing_can_change_that_the_key_does_not_hold(at):
    assert at().fingerprint() is None
    assert at(where="embedded").remote() is None


# Embedded
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"exact": True}, {}, {"quantization": {"kind": "scalar"}}, {"distance": "cosine"}]
)
def test_embedded_is_the_same_engine_over_files_in_the_cache(fields, around, matrices, everyone):
    retriever = QdrantSpec(encoder="student", where="embedded", depth=10, **fields).build(around)

    hits = retriever.search(everyone, 10)
    truth = exact_top_k(matrices["query"], matrices["passage"], 10)
    if fields.get("exact"):
        np.testing.assert_array_equal(hits.rows, truth.rows)
    assert (hits.rows == truth.rows).mean() > 0.9
    assert (around.scratch / "qdrant" / "shard").is_dir()


def test_embedded_warns_of_a_corpus_for_a_server(around, monkeypatch):
    monkeypatch.setattr("recipekit.retrievers.qdrant_build.EMBEDDED_UP_TO", 4000)
    QdrantSpec(encoder="student", where="embedded", exact=True).build(around)
    assert "`where: server` spreads them" in around.progress.warnings[0]


# Specs
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"exact": True, "quantization": {}}, "leave one of the two out"),
        ({"exact": True, "hnsw": {"m": 32}}, "hnsw is of the graph that is not built"),
        ({"id_field": "docid"}, "id_field is said of a collection that exists"),
        ({"where": "embedded", "collection": "a"}, "where: embedded has none"),
        ({"where": "embedded", "shards": 2}, "need a cluster"),
        (
            {"collection": "a", "on_disk": True},
            "on_disk: a collection that exists is used as it is",
        ),
        ({"url": "localhost:6333"}, "is no url: write http://HOST:PORT"),
    ],
)
def test_contradictions_are_told(fields, says):
    with pytest.raises(ValueError, match=says):
        QdrantSpec(encoder="student", **fields)


def test_the_spec_alone_imports_no_client(assert_light):
    assert_light(
        "recipekit.retrievers.qdrant", "torch", "qdrant_client", "qdrant_edge", "grpc", "httpx"
    )


def test_two_runs_at_once_load_one_collection(at, around, everyone):
    found: dict[int, Any] = {}

    def run(number: int) -> None:
        found[number] = at(exact=True).build(around).search(everyone, 10)

    runs = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    np.testing.assert_array_equal(found[0].rows, found[1].rows)
    assert [index.rows for index in at().remote().indices() if index.owner == OWNER] == [PASSAGES]
