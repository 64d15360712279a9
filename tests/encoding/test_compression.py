"""Compressed vectors against dense float64 references and sentence-transformers."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sentence_transformers.util.quantization import quantize_embeddings
from sklearn.decomposition import PCA

from recipekit.encoding import compression
from recipekit.encoding.compression import CompressedVectors, fit_compressor
from recipekit.encoding.compression_keys import Compression, CompressionKeys
from recipekit.errors import RunError
from recipekit.search.compressed import search_bits, search_expanded
from recipekit.search.topk import exact_top_k


@pytest.fixture
def vectors() -> np.ndarray:
    """200 rows of length 1 whose variance falls from dimension to dimension."""
    random = np.random.default_rng(0)
    drawn = random.normal(size=(200, 20)) * np.linspace(2, 0.1, 20) + 0.3
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def keys(value: object) -> CompressionKeys:
    return TypeAdapter(Compression).validate_python(value)


def test_a_precision_alone_is_short_for_its_key():
    assert keys("int8") == CompressionKeys(precision="int8")
    names = ["int8", "binary", {"pca": 8}, {"dimensions": 8, "precision": "binary", "rescore": 0}]
    assert [keys(name).name for name in names] == [
        "int8",
        "binary",
        "pca-8",
        "first-8-binary-bits-alone",
    ]


@pytest.mark.parametrize("value", [{}, {"pca": 8, "dimensions": 8}, "int4", {"pca": 0}])
def test_keys_that_compress_nothing_or_contradict_are_refused(value: object):
    with pytest.raises(ValidationError):
        keys(value)


@pytest.mark.parametrize(
    ("value", "bytes_per_vector"),
    [
        ("int8", 20),
        ("binary", 3),
        ({"pca": 8}, 32),
        ({"dimensions": 5}, 20),
        ({"pca": 9, "precision": "binary"}, 2),
        ({"dimensions": 5, "precision": "int8"}, 5),
    ],
)
def test_a_vector_takes_the_bytes_that_are_reported(
    vectors: np.ndarray, value: object, bytes_per_vector: int
):
    compressor = fit_compressor(keys(value), vectors, "cosine")
    stored = compressor.compress(vectors)
    assert stored.itemsize * stored.shape[1] == compressor.bytes_per_vector == bytes_per_vector
    assert compressor.expand(stored).shape == (200, compressor.dimension)


def test_int8_is_sentence_transformers_with_the_ranges_of_the_passages(vectors: np.ndarray):
    compressor = fit_compressor(keys("int8"), vectors, "cosine")
    stored = compressor.compress(vectors)
    assert np.array_equal(stored, quantize_embeddings(vectors, "int8"))
    assert np.array_equal(compressor.ranges, [vectors.min(axis=0), vectors.max(axis=0)])
    half_step = np.ptp(vectors, axis=0) / 255 / 2
    assert np.all(np.abs(compressor.expand(stored) - vectors) <= half_step * 3.01)
    assert np.abs(compressor.expand(stored) - vectors).mean() <= half_step.mean()


def test_bits_are_sentence_transformers_and_expand_to_signs(vectors: np.ndarray):
    compressor = fit_compressor(keys("binary"), vectors, "cosine")
    stored = compressor.compress(vectors)
    assert np.array_equal(stored, quantize_embeddings(vectors, "ubinary"))
    assert np.array_equal(compressor.expand(stored), np.where(vectors > 0, 1, -1))


def test_pca_projects_onto_scikit_learns_components_without_centring(vectors: np.ndarray):
    compressor = fit_compressor(keys({"pca": 6}), vectors, "dot")
    expected = PCA(6, svd_solver="full").fit(vectors.astype(np.float64)).components_
    aligned = expected * np.sign((expected * compressor.components).sum(axis=1, keepdims=True))
    assert np.allclose(compressor.components, aligned, atol=1e-4)
    assert np.allclose(compressor.reduce(vectors), vectors @ compressor.components.T, atol=1e-6)


@pytest.mark.parametrize("value", [{"pca": 6}, {"dimensions": 6}])
def test_fewer_dimensions_of_cosine_have_length_one_again(vectors: np.ndarray, value: object):
    reduced = fit_compressor(keys(value), vectors, "cosine").reduce(vectors)
    assert np.allclose(np.linalg.norm(reduced, axis=1), 1, atol=1e-6)
    unscaled = fit_compressor(keys(value), vectors, "dot").reduce(vectors)
    assert not np.allclose(np.linalg.norm(unscaled, axis=1), 1, atol=1e-3)
    assert np.allclose(unscaled / np.linalg.norm(unscaled, axis=1, keepdims=True), reduced)


def test_blocks_and_half_precision_give_the_same_vectors(
    vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    whole = CompressedVectors.of(fit_compressor(keys("int8"), vectors, "cosine"), vectors)
    monkeypatch.setattr(compression, "ROWS_AT_ONCE", 7)
    parts = CompressedVectors.of(fit_compressor(keys("int8"), vectors, "cosine"), vectors)
    assert np.array_equal(whole.stored, parts.stored)
    assert (len(parts), parts.shape, parts.nbytes) == (200, (200, 20), 4000)
    half = vectors.astype(np.float16)
    assert CompressedVectors.of(fit_compressor(keys("int8"), half, "cosine"), half).nbytes == 4000


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"pca": 21}, "pca: 21 is more than the 20 dimensions"),
        ({"dimensions": 32}, "dimensions: 32 is more than the 20 dimensions"),
    ],
)
def test_more_dimensions_than_there_are_cannot_be_kept(
    vectors: np.ndarray, value: object, message: str
):
    with pytest.raises(RunError, match=message):
        fit_compressor(keys(value), vectors, "cosine")


def test_components_need_as_many_passages(vectors: np.ndarray):
    with pytest.raises(RunError, match="at least as many passages, and there are 5"):
        fit_compressor(keys({"pca": 6}), vectors[:5], "cosine")


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_search_over_tiles_equals_search_over_the_expanded_matrix(
    vectors: np.ndarray, similarity: str, monkeypatch: pytest.MonkeyPatch
):
    corpus = CompressedVectors.of(fit_compressor(keys("int8"), vectors, "cosine"), vectors)
    expected = exact_top_k(vectors[:9], corpus[:], 12, similarity=similarity)
    monkeypatch.setattr("recipekit.search.compressed.TILE", 13)
    found = search_expanded(vectors[:9], corpus, 12, similarity)
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.scores, expected.scores)
    deep = search_expanded(vectors[:2], corpus, 210, similarity)
    assert np.count_nonzero(deep.rows < 0) == 20 and np.isneginf(deep.scores[:, 200:]).all()


def test_bits_are_ranked_by_hamming_distance_and_rescored_with_the_full_query(vectors: np.ndarray):
    corpus = CompressedVectors.of(fit_compressor(keys("binary"), vectors, "cosine"), vectors)
    queries = vectors[:9]
    bits = vectors > 0
    distance = (bits[:9, None] != bits[None]).sum(axis=2)
    by_distance = np.argsort(distance, axis=1, kind="stable")
    assert np.array_equal(search_bits(queries, corpus, 5, rescore=0).rows, by_distance[:, :5])
    found = search_bits(queries, corpus, 5, rescore=3)
    for query in range(9):
        candidates = np.sort(by_distance[query, :15])
        scores = queries[query].astype(np.float64) @ np.where(bits[candidates], 1, -1).T
        assert found.rows[query].tolist() == candidates[np.argsort(-scores)[:5]].tolist()
    everything = search_bits(queries, corpus, 250, rescore=4)
    assert everything.rows.shape == (9, 250) and (everything.rows[:, 200:] == -1).all()
