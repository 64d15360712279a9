from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipekit.errors import RunError
from recipekit.search import topk
from recipekit.search.topk import exact_top_k, moved, top_k_blocks


def reference(queries, passages, depth, exclude=None):
    """Sort dense float64 scores by (descending score, ascending row)."""
    scores = (queries.astype(np.float64) @ passages.astype(np.float64).T).astype(np.float32)
    rows = np.full((len(queries), depth), -1, np.int32)
    best = np.full((len(queries), depth), -np.inf, np.float32)
    for i, row in enumerate(scores):
        order = np.lexsort((np.arange(len(row)), -row))
        if exclude is not None:
            order = order[order != exclude[i]]
        order = order[:depth]
        rows[i, : len(order)], best[i, : len(order)] = order, row[order]
    return rows, best


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_tile_size_agrees_with_a_dense_reference(data):
    n, n_passages = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 60))
    depth, tile, block = (
        data.draw(st.integers(1, 70)),
        data.draw(st.integers(1, 70)),
        data.draw(st.integers(1, 10)),
    )
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    # With small integers, scores are exact and many are equal.
    queries = random.integers(-1, 2, (n, 3)).astype(np.float32)
    passages = random.integers(-1, 2, (n_passages, 3)).astype(
        data.draw(st.sampled_from([np.float16, np.float32]))
    )
    exclude = random.integers(-1, n_passages, n) if data.draw(st.booleans()) else None
    found = exact_top_k(
        queries, passages, depth, similarity="dot", tile=tile, block=block, exclude=exclude
    )
    rows, scores = reference(queries, passages, depth, exclude)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.scores, scores)


def test_scores_are_bitwise_equal_for_any_tile_and_block():
    random = np.random.default_rng(3)
    passages = random.standard_normal((2000, 48)).astype(np.float32)
    passages[1::7] = passages[3]  # 286 copies of one vector, anywhere in a tile.
    queries = random.standard_normal((30, 48)).astype(np.float32)
    queries[0] = passages[3]
    expected = exact_top_k(queries, passages, 20, similarity="dot")
    assert expected.rows[0].tolist() == sorted([*range(1, 140, 7), 3])[:20], (
        "copies tie, and the lowest rows come first"
    )
    for tile, block in ((7, 30), (777, 1), (999, 3), (64, 8)):
        found = exact_top_k(queries, passages, 20, similarity="dot", tile=tile, block=block)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_scores_are_float32_inner_products():
    random = np.random.default_rng(4)
    queries, passages = (
        random.standard_normal((5, 384)).astype(np.float32),
        random.standard_normal((300, 384)).astype(np.float32),
    )
    found = exact_top_k(queries, passages, 10, similarity="dot")
    rows, scores = reference(queries, passages, 10)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)


def test_memory_maps_and_tensors_give_the_same_hits(tmp_path: Path):
    random = np.random.default_rng(5)
    passages = random.standard_normal((100, 8)).astype(np.float16)
    queries = random.standard_normal((4, 8)).astype(np.float32)
    np.save(tmp_path / "passages.npy", passages)
    mapped = exact_top_k(
        queries, np.load(tmp_path / "passages.npy", mmap_mode="r"), 5, similarity="dot", tile=33
    )
    tensors = exact_top_k(
        torch.from_numpy(queries), torch.from_numpy(passages), 5, similarity="dot"
    )
    np.testing.assert_array_equal(mapped.rows, reference(queries, passages, 5)[0])
    np.testing.assert_array_equal(mapped.rows, tensors.rows)
    np.testing.assert_array_equal(mapped.scores, tensors.scores)


def test_queries_are_searched_in_blocks():
    queries, passages = np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32)
    blocks = list(top_k_blocks(queries, passages, 1, similarity="dot", block=2))
    assert [start for start, _ in blocks] == [0, 2, 4]
    assert np.concatenate([hits.rows for _, hits in blocks]).ravel().tolist() == [0, 1, 2, 3, 4]


def test_empty_queries_and_empty_passages():
    assert exact_top_k(
        np.empty((0, 4), np.float32), np.ones((3, 4), np.float32), 2, similarity="dot"
    ).rows.shape == (
        0,
        2,
    )
    empty = exact_top_k(
        np.ones((1, 4), np.float32), np.empty((0, 4), np.float32), 2, similarity="dot"
    )
    assert empty.rows.tolist() == [[-1, -1]]
    assert np.isneginf(empty.scores).all()


def test_different_dimensions_and_nan_are_errors():
    with pytest.raises(ValueError, match="queries have 3 dimensions, passages 4"):
        exact_top_k(np.ones((1, 3), np.float32), np.ones((1, 4), np.float32), 1, similarity="dot")
    passages = np.ones((40, 2), np.float32)
    passages[7] = np.nan
    with pytest.raises(RunError, match=r"NaN \(passage row 7"):
        exact_top_k(np.ones((1, 2), np.float32), passages, 1, similarity="dot", tile=5)


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan"])
@pytest.mark.parametrize("block, tile", [(1, 7), (50, 1000)])
def test_distances_rank_the_nearest_first(similarity, block, tile) -> None:
    rng = np.random.default_rng(5)
    queries = rng.standard_normal((9, 6)).astype(np.float32)
    passages = (3 * rng.standard_normal((120, 6))).astype(np.float32)
    passages[60] = passages[3]
    queries[0] = passages[60]
    order = 2 if similarity == "euclidean" else 1
    wide = queries.astype(np.float64)[:, None] - passages.astype(np.float64)
    distance = np.linalg.norm(wide, ord=order, axis=-1)
    found = exact_top_k(queries, passages, 8, similarity=similarity, block=block, tile=tile)
    expected = np.argsort(distance, axis=1, kind="stable")[:, :8]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(
        found.scores, -np.take_along_axis(distance, expected, axis=1), rtol=1e-5
    )
    assert found.rows[0, :2].tolist() == [3, 60] and (found.scores[0, :2] == 0).all()


def test_scores_of_a_distance_do_not_depend_on_tile_and_block() -> None:
    rng = np.random.default_rng(6)
    queries = rng.standard_normal((40, 48)).astype(np.float32)
    passages = rng.standard_normal((300, 48)).astype(np.float32)
    for similarity in ("euclidean", "manhattan"):
        whole = exact_top_k(queries, passages, 20, similarity=similarity)
        parts = exact_top_k(queries, passages, 20, similarity=similarity, tile=11, block=3)
        np.testing.assert_array_equal(parts.rows, whole.rows)
        np.testing.assert_array_equal(parts.scores, whole.scores)


def test_a_matrix_is_copied_to_a_device_in_parts(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(topk, "COPIED", 7)
    random = np.random.default_rng(4)
    np.save(tmp_path / "m.npy", random.standard_normal((23, 5)).astype(np.float16))
    matrix = np.load(tmp_path / "m.npy", mmap_mode="r")
    copy = moved(matrix, "cpu")
    assert copy.dtype == torch.float16
    np.testing.assert_array_equal(copy.numpy(), matrix)
