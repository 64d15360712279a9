"""The exact softmax against a dense float64 reference, and the invariants that it must keep."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from helpers.dense_reference import (
    corpus_labels,
    dense_losses,
    rows_of_lengths,
    unit_rows,
    value_and_gradient,
)
from helpers.largest_tensor import LargestTensor
from recipekit.component import SingleProcess
from recipekit.losses import exact_softmax_math, log_partition
from recipekit.losses.exact_softmax import ExactSoftmaxSpec
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.infonce_math import InfoNCE
from recipekit.records import Verdict
from recipekit.testing import context

FORMS = ("one_vs_negatives", "soft_label", "log_marginal")


@st.composite
def cases(draw):
    n, total = draw(st.integers(1, 5)), draw(st.integers(1, 24))
    codes = st.sampled_from([Verdict.NEGATIVE, Verdict.POSITIVE, Verdict.IGNORE])
    verdicts = draw(hnp.arrays(np.int8, (n, total), elements=codes))
    for row in verdicts:
        only = draw(st.sampled_from([None, None, None, *Verdict]))
        if only is not None:
            row[:] = only
    grades = draw(hnp.arrays(np.float32, (n, total), elements=st.sampled_from([1.0, 2.0, 3.0])))
    return verdicts, grades


@settings(deadline=None, max_examples=200)
@given(
    cases(),
    st.integers(1, 8),
    st.integers(0, 2**31),
    st.integers(1, 30),
    st.sampled_from(FORMS),
    st.sampled_from([0.0, 0.01, 0.3]),
    st.sampled_from([0.02, 0.05, 1.0]),
    st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    st.sampled_from(["cosine", "euclidean"]),
)
def test_values_and_gradients_equal_the_dense_reference(
    case, dim, seed, tile_size, form, smoothing, temperature, dtype, similarity
):
    verdicts, grades = case
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    queries, matrix = (
        unit_rows(len(verdicts), dim, seed, exact),
        unit_rows(verdicts.shape[1], dim, seed + 1, dtype),
    )
    if similarity == "euclidean":
        queries, matrix = rows_of_lengths(queries, seed), rows_of_lengths(matrix, seed + 1)
    loss = ExactSoftmax(temperature, form, smoothing, tile_size=tile_size, similarity=similarity)
    labels, frozen = corpus_labels(verdicts, grades), FrozenMatrix.whole(matrix)

    losses, gradient = value_and_gradient(lambda q: loss(q, labels, frozen), queries)
    options = {"temperature": temperature, "form": form, "label_smoothing": smoothing}
    options |= {"similarity": similarity}
    expected, expected_gradient = value_and_gradient(
        lambda q: dense_losses(q, matrix, verdicts, grades, **options), queries
    )

    # Weights are float32 even where all else is float64.
    tolerance = 1e-6 if dtype == torch.float64 else 3e-6
    torch.testing.assert_close(losses, expected, rtol=tolerance, atol=tolerance / temperature)
    torch.testing.assert_close(
        gradient, expected_gradient, rtol=10 * tolerance, atol=10 * tolerance / temperature
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_gradcheck_with_empty_and_fully_masked_rows(judged, form, smoothing, similarity):
    verdicts, grades = judged
    loss = ExactSoftmax(0.5, form, smoothing, tile_size=7, similarity=similarity)
    labels, frozen = (
        corpus_labels(verdicts, grades),
        FrozenMatrix.whole(unit_rows(30, 5, 1, torch.float64)),
    )
    assert torch.autograd.gradcheck(
        lambda q: loss(q, labels, frozen), unit_rows(6, 5, 2, torch.float64).requires_grad_()
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_queries_without_positives_or_negatives_have_zero_loss(judged, form, smoothing):
    loss = ExactSoftmax(0.05, form, smoothing, tile_size=8)
    labels, frozen = corpus_labels(judged[0]), FrozenMatrix.whole(unit_rows(30, 8, 1))
    losses, gradient = value_and_gradient(lambda q: loss(q, labels, frozen), unit_rows(6, 8, 2))

    assert losses.isfinite().all() and gradient.isfinite().all()
    for without_positive in (3, 5):
        assert losses[without_positive] == 0 and (gradient[without_positive] == 0).all()
    if form == "one_vs_negatives" or (form == "log_marginal" and not smoothing):
        assert losses[4] == 0 and (gradient[4] == 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_equals_cross_entropy_over_the_corpus_with_one_positive(form, smoothing):
    queries, matrix = unit_rows(9, 16, 1), unit_rows(50, 16, 2)
    targets = torch.arange(9) * 5
    verdicts = np.zeros((9, 50), np.int8)
    verdicts[np.arange(9), targets] = Verdict.POSITIVE
    labels, frozen = corpus_labels(verdicts), FrozenMatrix.whole(matrix)

    loss = ExactSoftmax(0.05, form, smoothing, tile_size=16)
    ours = value_and_gradient(lambda q: loss(q, labels, frozen), queries)
    dense = value_and_gradient(
        lambda q: cross_entropy(
            q @ matrix.T / 0.05, targets, reduction="none", label_smoothing=smoothing
        ),
        queries,
    )
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=2e-5)


def test_it_equals_infonce_if_the_corpus_is_the_batch(judged):
    verdicts, _ = judged
    queries, passages = unit_rows(6, 16, 1), unit_rows(30, 16, 2)
    labels, frozen = corpus_labels(verdicts), FrozenMatrix.whole(passages)
    exact = value_and_gradient(lambda q: ExactSoftmax(0.05)(q, labels, frozen), queries)
    in_batch = value_and_gradient(
        lambda q: InfoNCE(0.05)(q, passages, torch.from_numpy(verdicts)), queries
    )
    torch.testing.assert_close(exact, in_batch, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_ignored_passage_changes_no_bit_of_the_result(judged, form, smoothing):
    verdicts, _ = judged
    verdicts[:, 11] = [Verdict.IGNORE, *[Verdict.NEGATIVE] * 5]
    loss, labels = ExactSoftmax(0.5, form, smoothing, tile_size=8), corpus_labels(verdicts)
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2)
    before = value_and_gradient(lambda q: loss(q, labels, FrozenMatrix.whole(matrix)), queries)
    matrix[11] = 50 * unit_rows(1, 8, 99)
    after = value_and_gradient(lambda q: loss(q, labels, FrozenMatrix.whole(matrix)), queries)

    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[0], other[0])
        assert not torch.equal(one[1], other[1])  # to query 1 it is a negative


@pytest.mark.parametrize("form", FORMS)
def test_tile_size_and_order_of_passages_change_nothing_but_rounding(judged, form):
    verdicts, grades = judged
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2)

    def computed(order, tile_size):
        loss = ExactSoftmax(0.05, form, 0.1, tile_size=tile_size)
        labels, frozen = (
            corpus_labels(verdicts[:, order], grades[:, order]),
            FrozenMatrix.whole(matrix[order]),
        )
        return value_and_gradient(lambda q: loss(q, labels, frozen), queries)

    expected = computed(np.arange(30), 30)
    for tile_size in (1, 7, 29, 1000):
        torch.testing.assert_close(
            computed(np.arange(30), tile_size), expected, rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(
            computed(np.random.default_rng(1).permutation(30), tile_size),
            expected,
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_euclidean_scores_are_those_of_the_stored_vectors_also_if_they_are_long(judged, dtype):
    """|d|²/2 is about 800 here, which bfloat16 would round to multiples of 4."""
    verdicts, grades = judged
    queries, matrix = 40 * unit_rows(6, 64, 1), (40 * unit_rows(30, 64, 2)).to(dtype)
    options = {"temperature": 20.0, "form": "soft_label", "similarity": "euclidean"}
    loss, labels = ExactSoftmax(**options, tile_size=7), corpus_labels(verdicts, grades)
    ours = value_and_gradient(lambda q: loss(q, labels, FrozenMatrix.whole(matrix)), queries)
    expected = value_and_gradient(
        lambda q: dense_losses(q, matrix, verdicts, grades, **options), queries
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=2e-5)


def test_euclidean_losses_of_unit_vectors_are_those_of_cosine(judged):
    labels, frozen = corpus_labels(judged[0]), FrozenMatrix.whole(unit_rows(30, 16, 2))
    queries = unit_rows(6, 16, 1)
    losses = [
        ExactSoftmax(0.05, similarity=similarity)(queries, labels, frozen)
        for similarity in ("cosine", "euclidean")
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=2e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        pytest.param(
            "inductor",
            marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
        ),
    ],
)
def test_compiled_tiles_give_the_same_values_and_gradients(
    judged, backend: str, similarity: str, monkeypatch: pytest.MonkeyPatch
):
    verdicts, _ = judged
    queries, matrix = unit_rows(6, 8, 1), FrozenMatrix.whole(1.5 * unit_rows(30, 8, 2))
    # The last tile is shorter, and tiles have different numbers of masked pairs.
    loss = ExactSoftmax(0.05, tile_size=11, similarity=similarity)
    labels = corpus_labels(verdicts)
    results = []
    for compiler in (None, backend):
        monkeypatch.setattr(log_partition, "COMPILER", compiler)
        results.append(value_and_gradient(lambda q: loss(q, labels, matrix), queries))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_products_in_half_precision_are_exact_for_rounded_queries(
    judged, dtype, form, similarity, monkeypatch: pytest.MonkeyPatch
):
    verdicts, grades = judged
    temperature, smoothing = 0.05, 0.1
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2, dtype)
    loss = ExactSoftmax(temperature, form, smoothing, tile_size=11, similarity=similarity)
    labels, frozen = corpus_labels(verdicts, grades), FrozenMatrix.whole(matrix)
    # On a GPU. Elsewhere such products are computed in float32, from the same operands.
    monkeypatch.setattr(exact_softmax_math, "operand_dtype", lambda queries, corpus: dtype)
    losses, gradient = value_and_gradient(lambda q: loss(q, labels, frozen), queries)

    rounded = (queries / temperature).to(dtype).float() * temperature
    options = {"temperature": temperature, "form": form, "label_smoothing": smoothing}
    expected, expected_gradient = value_and_gradient(
        lambda q: dense_losses(q, matrix, verdicts, grades, similarity=similarity, **options),
        rounded,
    )
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-4)
    # The weights of the moment are rounded.
    difference = (gradient - expected_gradient).norm() / expected_gradient.norm()
    assert 0 < difference < torch.finfo(dtype).eps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_scores_give_finite_and_correct_results(judged, form, smoothing):
    verdicts, grades = judged
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2)
    loss = ExactSoftmax(1e-4, form, smoothing, tile_size=7)  # scores up to 1e4 in size
    losses, gradient = value_and_gradient(
        lambda q: loss(q, corpus_labels(verdicts, grades), FrozenMatrix.whole(matrix)), queries
    )
    options = {"temperature": 1e-4, "form": form, "label_smoothing": smoothing}
    expected, expected_gradient = value_and_gradient(
        lambda q: dense_losses(q, matrix, verdicts, grades, **options), queries
    )

    assert losses.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1.0)


def test_it_takes_one_pass_of_4bnd_operations_in_the_memory_of_a_tile():
    n, total, dim, tile_size = 32, 20_000, 8, 256
    verdicts = np.zeros((n, total), np.int8)
    verdicts[np.arange(n), np.arange(n)] = Verdict.POSITIVE
    labels, frozen = corpus_labels(verdicts), FrozenMatrix(unit_rows(total, dim, 2), 0, total)
    queries = unit_rows(n, dim, 1).requires_grad_()
    with FlopCounterMode(display=False) as flops, LargestTensor() as memory:
        ExactSoftmax(0.05, tile_size=tile_size)(queries, labels, frozen).sum().backward()
    assert flops.get_total_flops() == 4 * n * total * dim
    assert memory.largest == n * tile_size  # the scores of a tile

    with FlopCounterMode(display=False) as flops, torch.no_grad():
        ExactSoftmax(0.05, tile_size=tile_size)(queries, labels, frozen)
    assert flops.get_total_flops() == 2 * n * total * dim  # no gradient, no moment


def test_autocast_and_half_precision_queries_do_not_round_the_scores(judged):
    labels, frozen = corpus_labels(judged[0]), FrozenMatrix.whole(unit_rows(30, 8, 2))
    queries = unit_rows(6, 8, 1, torch.bfloat16)
    expected, _ = value_and_gradient(
        lambda q: ExactSoftmax(0.05)(q, labels, frozen), queries.float()
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses, gradient = value_and_gradient(
            lambda q: ExactSoftmax(0.05)(q, labels, frozen), queries
        )
    assert torch.equal(losses, expected) and gradient.isfinite().all()


def test_a_memory_mapped_matrix_gives_the_same_losses(tmp_path: Path, judged):
    matrix = unit_rows(30, 8, 2, torch.float16).numpy()
    np.save(tmp_path / "matrix.npy", matrix)
    mapped = FrozenMatrix.slice_of(np.load(tmp_path / "matrix.npy", mmap_mode="r"), SingleProcess())
    loss, labels, queries = (
        ExactSoftmax(0.05, tile_size=8),
        corpus_labels(judged[0]),
        unit_rows(6, 8, 1),
    )
    assert torch.equal(
        loss(queries, labels, mapped),
        loss(queries, labels, FrozenMatrix.whole(torch.from_numpy(matrix))),
    )


def test_labels_of_other_queries_or_passages_are_refused(judged):
    loss, labels = ExactSoftmax(0.05), corpus_labels(judged[0])
    with pytest.raises(ValueError, match="labels of 6 queries for 5 queries"):
        loss(unit_rows(5, 8, 1), labels, FrozenMatrix.whole(unit_rows(30, 8, 2)))
    with pytest.raises(IndexError, match="row 29 of a frozen matrix of 20 rows"):
        loss(unit_rows(6, 8, 1), labels, FrozenMatrix.whole(unit_rows(20, 8, 2)))


def test_the_spec_builds_the_loss_that_it_declares(tmp_path: Path):
    spec = ExactSoftmaxSpec(temperature=0.02, form="soft_label", label_smoothing=0.01)
    built = spec.build(context(tmp_path))
    assert built == ExactSoftmax(temperature=0.02, form="soft_label", label_smoothing=0.01)
    assert spec.negatives_from == "corpus"
    assert "euclidean" in spec.similarities


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0}, {"label_smoothing": 1.0}, {"form": "marginal"}, {"tile_size": 0}],
)
def test_the_spec_refuses_values_out_of_range(wrong):
    with pytest.raises(ValidationError):
        ExactSoftmaxSpec(**wrong)
