"""The qdrant retriever on a real server."""

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
    """Unit vectors in 50 clusters, like embeddings of 50 topics; passage 4999 equals passage 7."""
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
def run_context(tmp_path: Path, dataset: Dataset, matrices: dict[str, Any]) -> Context:
    """The context of a run over `matrices`."""

    def embeddings(name: str, side: str) -> Embeddings:
        return Embeddings(tmp_path / side, matrices[side], similarity="cosine", key=f"test-{side}")

    return context(tmp_path / "scratch", dataset=dataset, embeddings=embeddings, owner=OWNER)


@pytest.fixture
def all_queries(dataset: Dataset) -> QueryBatch:
    rows = np.arange(QUERIES)
    return QueryBatch(rows, dataset.queries.texts(rows))


@pytest.fixture
def make_spec(qdrant) -> Callable[..., QdrantSpec]:
    """`make_spec(exact=True)`: a spec for the session's server."""
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


def messages(run_context: Context) -> list[str]:
    progress = run_context.progress
    assert isinstance(progress, RecordingProgress)
    return [event["message"] for event in progress.events if event["event"] == "info"]


def test_the_retriever_conforms(make_spec, run_context):
    check_retriever(make_spec(exact=True), run_context)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_exact_search_equals_the_exact_retriever(
    protocol, make_spec, run_context, matrices, all_queries
):
    hits = make_spec(exact=True, protocol=protocol).build(run_context).search(all_queries, 10)

    truth = exact_top_k(matrices["query"], matrices["passage"], 10, similarity="cosine")
    np.testing.assert_array_equal(hits.rows, truth.rows)
    np.testing.assert_allclose(hits.scores, truth.scores, atol=2e-3)


def test_ties_go_to_the_lower_row(make_spec, run_context, matrices, all_queries):
    matrices["query"][7] = matrices["passage"][7]
    hits = make_spec(exact=True).build(run_context).search(all_queries, 2)
    assert hits.rows[7].tolist() == [7, 4999]


def test_a_second_run_reuses_the_collection(make_spec, run_context, client, all_queries):
    first = make_spec().build(run_context).search(all_queries, 10)
    second = make_spec(concurrency=1, batch_size=17).build(run_context).search(all_queries, 10)

    loaded = [
        event["loaded"] for event in run_context.progress.events if event["event"] == "qdrant"
    ]
    assert loaded == [True, False]
    np.testing.assert_array_equal(first.rows, second.rows)


def test_a_collection_has_an_ownership_tag(make_spec, run_context, client):
    make_spec(exact=True).build(run_context)

    [index] = [index for index in make_spec().remote().indices() if index.owner == OWNER]
    assert (index.corpus, index.rows) == (run_context.corpus, PASSAGES)
    info = client.get_collection(index.name)
    assert info.config.metadata["recipekit"]["complete"] is True
    assert info.config.params.vectors.datatype == models.Datatype.FLOAT16


def test_only_settings_of_the_content_make_another_collection(make_spec, run_context):
    for fields in (
        {},
        {"hnsw": {"ef": 64}},
        {"protocol": "grpc"},
        {"hnsw": {"m": 32}},
        {"exact": True},
    ):
        make_spec(**fields).build(run_context)
    assert len([index for index in make_spec().remote().indices() if index.owner == OWNER]) == 3


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize(
    "quantization", [None, {"kind": "scalar"}, {"kind": "product", "compression": "x4"}]
)
def test_the_recall_of_approximate_search_is_measured_and_reported(
    quantization, protocol, make_spec, run_context
):
    retriever = make_spec(quantization=quantization, protocol=protocol).build(run_context)

    assert 0.9 < retriever.counts["recall_against_exact"] <= 1
    assert messages(run_context) == [
        f"qdrant: recall@10 against exact search is {retriever.measured_recall:.4f} "
        f"on {QUERIES} queries"
    ]


def test_a_collection_has_binary_quantization(make_spec, run_context, client):
    retriever = make_spec(quantization={"kind": "binary", "always_ram": False}, on_disk=True).build(
        run_context
    )
    vectors = client.get_collection(retriever.collection).config.params.vectors
    assert vectors.quantization_config == models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(always_ram=False)
    )
    assert vectors.on_disk is True
    assert retriever.counts["recall_against_exact"] > 0.3  # one bit of 32 dimensions is coarse


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_graph_is_built_after_loading_and_waited_for(
    protocol, make_spec, run_context, client, monkeypatch
):
    monkeypatch.setattr("recipekit.engines.qdrant.index.INDEXING_THRESHOLD_KB", 10)
    retriever = make_spec(hnsw={"m": 8}, protocol=protocol).build(run_context)

    info = client.get_collection(retriever.collection)
    assert info.status == models.CollectionStatus.GREEN
    assert info.indexed_vectors_count == PASSAGES
    assert info.config.hnsw_config.m == 8
    assert retriever.measured_recall > 0.9


def test_a_low_recall_is_warned_about_with_a_remedy(make_spec, run_context, monkeypatch):
    monkeypatch.setattr("recipekit.retrievers.qdrant.LOW_RECALL", 1.1)
    make_spec().build(run_context)
    assert run_context.progress.warnings == [
        "qdrant: recall@10 against exact search is 1.0000 on 50 queries: raise `hnsw.ef`, `hnsw.m` "
        "or `quantization.oversampling`, or set `exact: true`"
    ]


def test_a_depth_beyond_the_corpus_is_padded(make_spec, tmp_path, make_dataset):
    few = make_dataset([("q", "query", "train")], [("a", "a"), ("b", "b")], {(0, 0): 1.0})
    vectors = np.eye(2, dtype=np.float32)

    def embeddings(name, side):
        return Embeddings(tmp_path, vectors[:1] if side == "query" else vectors, "cosine", side)

    retriever = make_spec().build(
        context(tmp_path, dataset=few, embeddings=embeddings, owner=OWNER)
    )
    assert retriever.search(QueryBatch(np.array([0]), ["query"]), 4).rows.tolist() == [
        [0, 1, -1, -1]
    ]


# Existing collections
# ----------------------------------------------------------------------------------------------


@pytest.fixture
def existing(client, matrices) -> str:
    """A collection with ids in the payload, a named vector, and 50 uncollected passages."""
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
def test_an_existing_collection_is_searched_by_ids_in_its_payload(
    protocol, make_spec, run_context, existing, matrices, all_queries
):
    retriever = make_spec(
        collection=existing, id_field="docid", vector_name="text", protocol=protocol
    ).build(run_context)

    hits = retriever.search(all_queries, 10)
    np.testing.assert_array_equal(
        hits.rows, exact_top_k(matrices["query"], matrices["passage"], 10, similarity="cosine").rows
    )
    assert retriever.counts["unknown"] == 0
    stored = PASSAGES + 50  # the uncollected passages occupy memory too
    assert retriever.index_bytes == stored * DIMENSION * 4
    assert [index for index in make_spec().remote().indices() if index.name == existing] == []


def test_too_many_unknown_hits_are_an_error(
    make_spec, run_context, existing, matrices, all_queries
):
    matrices = {**matrices, "query": -matrices["query"]}
    run_context = context(
        run_context.scratch,
        dataset=run_context.dataset,
        embeddings=lambda name, side: Embeddings(
            run_context.scratch, matrices[side], "cosine", side
        ),
    )
    spec = {"collection": existing, "id_field": "docid", "vector_name": "text", "recall_sample": 0}
    lenient = make_spec(**spec, max_unknown_ids=1.0).build(run_context)
    lenient.search(all_queries, 10)
    assert lenient.counts["unknown"] > 50
    with pytest.raises(
        ComponentError,
        match=rf"'{existing}'.* hits are passages that were not collected, "
        rf"for example 'strange50\d\d'",
    ):
        make_spec(**spec).build(run_context).search(all_queries, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has no unnamed vector: it has 'text'; set `vector_name`"),
        ({"vector_name": "txt"}, "has no vector 'txt': it has 'text'"),
        ({"vector_name": "text", "id_field": "id"}, "has no 'id'; correct `id_field`"),
        (
            {"collection": f"{OWNER}-none", "vector_name": "text"},
            f"collection '{OWNER}-none' does not exist",
        ),
    ],
)
def test_an_existing_collection_that_does_not_fit_is_an_error(
    fields, message, make_spec, run_context, existing
):
    with pytest.raises(ComponentError, match=message):
        make_spec(**{"collection": existing, **fields}).build(run_context)


def test_a_collection_of_another_encoder_is_an_error(make_spec, run_context, client):
    name = f"{OWNER}-small"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT)
    )
    with pytest.raises(
        ComponentError,
        match="holds vectors of 3 dimensions, but the encoder's embeddings have 32: name the enc",
    ):
        make_spec(collection=name).build(run_context)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_a_collection_ranks_by_the_encoders_similarity(
    similarity, protocol, make_spec, run_context, matrices, all_queries
):
    scale = np.random.default_rng(4).uniform(0.5, 2, (PASSAGES, 1))
    scaled = {**matrices, "passage": (matrices["passage"] * scale).astype(np.float32)}
    its_context = context(
        run_context.scratch,
        dataset=run_context.dataset,
        owner=OWNER,
        embeddings=lambda name, side: Embeddings(
            run_context.scratch, scaled[side], similarity, f"{similarity}-{side}"
        ),
    )
    retriever = make_spec(exact=True, protocol=protocol).build(its_context)
    hits = retriever.search(all_queries, 10)
    truth = exact_top_k(scaled["query"], scaled["passage"], 10, similarity=similarity)
    np.testing.assert_array_equal(hits.rows, truth.rows)
    np.testing.assert_allclose(hits.scores, truth.scores, rtol=1e-4)
    assert retriever.counts["similarity"] == similarity
    approximate = make_spec(protocol=protocol).build(its_context)
    assert approximate.measured_recall > 0.95


@pytest.mark.parametrize(
    ("distance", "length", "similarity", "message"),
    [
        ("COSINE", 3.0, "cosine", None),
        ("DOT", 1.0, "cosine", None),
        ("DOT", 3.0, "cosine", "has length 3, but the encoder's similarity is cosine"),
        ("EUCLID", 1.0, "cosine", "compares vectors by Euclid, but the encoder's similarity is co"),
        ("COSINE", 1.0, "dot", "compares vectors by Cosine, but the encoder's similarity is dot"),
        ("MANHATTAN", 1.0, "manhattan", None),
    ],
)
def test_an_existing_collection_must_have_the_encoders_similarity(
    distance, length, similarity, message, make_spec, run_context, matrices, client
):
    name = f"{OWNER}-{distance}-{length}-{similarity}"
    client.create_collection(
        name,
        vectors_config=models.VectorParams(
            size=DIMENSION, distance=getattr(models.Distance, distance)
        ),
    )
    vectors = length * matrices["passage"][:40].astype(np.float32)
    points = [
        models.PointStruct(id=row, vector=vectors[row].tolist(), payload={"docid": f"p{row}"})
        for row in range(40)
    ]
    client.upsert(name, points, wait=True)
    its_context = context(
        run_context.scratch,
        dataset=run_context.dataset,
        embeddings=lambda name, side: Embeddings(
            run_context.scratch, matrices[side], similarity, side
        ),
    )
    spec = make_spec(collection=name, id_field="docid", exact=True)
    if message is None:
        spec.build(its_context)
    else:
        with pytest.raises(ComponentError, match=message):
            spec.build(its_context)


def test_a_fingerprint_changes_when_the_collection_does(make_spec, client, existing):
    spec = make_spec(collection=existing, id_field="docid", vector_name="text")
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
    with pytest.raises(ComponentError, match=f"collection '{existing}' does not exist"):
        spec.fingerprint()


def test_a_collection_of_recipekit_needs_no_fingerprint(make_spec):
    assert make_spec().fingerprint() is None


def test_two_parallel_runs_load_one_collection(make_spec, run_context, all_queries):
    found: dict[int, Any] = {}

    def run(number: int) -> None:
        found[number] = make_spec(exact=True).build(run_context).search(all_queries, 10)

    runs = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    np.testing.assert_array_equal(found[0].rows, found[1].rows)
    assert [index.rows for index in make_spec().remote().indices() if index.owner == OWNER] == [
        PASSAGES
    ]
