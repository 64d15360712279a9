"""Vectors with fewer dimensions or bytes."""

import numpy as np
import pytest

from recipekit.compare.vectors import as_stored, bytes_per_vector, cut

VECTORS = np.random.default_rng(4).normal(size=(300, 24)).astype(np.float32)


def test_bytes_follow_from_dimensions_and_type() -> None:
    assert [bytes_per_vector(100, kind) for kind in ("float32", "int8", "binary")] == [400, 100, 13]


def test_int8_is_at_most_half_a_step_away() -> None:
    stored = as_stored(VECTORS, "int8")
    steps = (VECTORS.max(axis=0) - VECTORS.min(axis=0)) / 255
    assert np.all(np.abs(stored - VECTORS) <= steps * 0.501)
    assert max(len(np.unique(column)) for column in stored.T) <= 256
    assert stored.dtype == np.float32


def test_int8_keeps_a_constant_dimension() -> None:
    constant = VECTORS.copy()
    constant[:, 3] = 0.25
    assert as_stored(constant, "int8")[:, 3] == pytest.approx(0.25, abs=0.5)
    assert np.ptp(as_stored(constant, "int8")[:, 3]) == 0


def test_binary_keeps_the_signs_of_all_dimensions() -> None:
    assert np.array_equal(as_stored(VECTORS, "binary"), np.where(VECTORS > 0, 1, -1))


def test_float32_and_no_vectors_stay_what_they_are() -> None:
    assert as_stored(VECTORS, "float32") is VECTORS
    assert as_stored(VECTORS[:0], "int8").shape == (0, 24)


def test_cut_vectors_of_cosine_have_length_1_and_others_keep_their_numbers() -> None:
    assert np.linalg.norm(cut(VECTORS, 5, "cosine"), axis=1) == pytest.approx(1)
    assert np.array_equal(cut(VECTORS, 5, "dot"), VECTORS[:, :5])
    assert np.array_equal(cut(VECTORS.astype(np.float16), None, "cosine"), VECTORS.astype("f2"))
    zero = np.zeros((1, 4), dtype=np.float32)
    assert np.array_equal(cut(zero, 2, "cosine"), zero[:, :2])
