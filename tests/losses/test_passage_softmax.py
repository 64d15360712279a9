"""The passage half of the exact softmax against a dense float64 reference."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from helpers.dense_reference import (
    dense_losses,
    rows_of_lengths,
    training_labels,
    unit_rows,
)
from helpers.largest_tensor import LargestTensor
from losses.test_exact_softmax import FORMS, cases
from recipekit.losses import exact_softmax_math
from recipekit.losses import passage_softmax as passage_softmax_module
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.passage_softmax import PassageSoftmax
from recipekit.records import Verdict
from recipekit.training import gradients


def passage_softmax(loss, queries, matrix, verdicts, grades=None) -> PassageSoftmax:
    labels = training_labels(verdicts, grades)
    frozen = FrozenMatrix.whole(queries), FrozenMatrix.whole(matrix.clone())
    half = loss.over_passages(*frozen, labels)
    half.compute()
    return half


def dense(queries, matrix, verdicts, grades, **options):
    """The mean loss, and its gradient with respect to every passage, in float64."""
    passages = matrix.double().clone().requires_grad_()
    mean = dense_losses(queries, passages, verdicts, grades, **options).mean()
    (gradient,) = torch.autograd.grad(mean, passages)
    return mean.detach(), gradient


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    cases(),
    st.integers(1, 8),
    st.integers(0, 2**31),
    st.integers(1, 30),
    st.sampled_from(FORMS),
    st.sampled_from([0.0, 0.01, 0.3]),
    st.sampled_from([0.02, 0.05, 1.0]),
    st.sampled_from(["cosine", "euclidean"]),
    st.data(),
)
def test_blocks_give_the_dense_loss_and_gradient_of_the_updated_matrix(
    case, dim, seed, tile_size, form, smoothing, temperature, similarity, data
):
    verdicts, grades = case
    n, total = verdicts.shape

    def vectors(count, seed):
        rows = unit_rows(count, dim, seed, torch.float64)
        return rows_of_lengths(rows, seed) if similarity == "euclidean" else rows

    queries, matrix = vectors(n, seed), vectors(total, seed + 1)
    options = {"temperature": temperature, "form": form, "label_smoothing": smoothing}
    options |= {"similarity": similarity}
    loss = ExactSoftmax(temperature, form, smoothing, tile_size=tile_size, similarity=similarity)
    half = passage_softmax(loss, queries, matrix, verdicts, grades)
    for turn in range(3):
        size = data.draw(st.integers(1, total))
        rows = np.array(data.draw(st.permutations(range(total)))[:size])
        fresh = vectors(size, seed + 2 + turn)
        part, gradient = half.block(rows, fresh, update=True)
        matrix[torch.from_numpy(rows)] = fresh
        mean, expected = dense(queries, matrix, verdicts, grades, **options)
        # A block that held nearly all of a partition leaves a rest that is known to 1e-16 of it.
        torch.testing.assert_close(part, mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, expected[rows], rtol=1e-4, atol=1e-5 / temperature)
    assert torch.equal(half.passages.matrix, matrix)


def half_precision_operands(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Round operands as on a GPU. A CPU computes such products in float32."""
    for module in (exact_softmax_math, passage_softmax_module):
        monkeypatch.setattr(module, "operand_dtype", lambda queries, corpus: dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_in_half_precision_are_exact_for_rounded_queries(
    judged, form, similarity, dtype, monkeypatch: pytest.MonkeyPatch
):
    verdicts, grades = judged
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2, dtype)
    options = {"temperature": 0.05, "form": form, "label_smoothing": 0.1}
    options |= {"similarity": similarity}
    loss = ExactSoftmax(0.05, form, 0.1, tile_size=4, similarity=similarity)
    half_precision_operands(monkeypatch, dtype)
    half = passage_softmax(loss, queries, matrix, verdicts, grades)
    rounded = (queries / 0.05).to(dtype).double() * 0.05
    for rows in (np.arange(12), np.arange(12, 30), np.arange(30)):  # the last one is all passages
        fresh = unit_rows(len(rows), 8, 3 + len(rows)).to(dtype)
        part, gradient = half.block(rows, fresh.float(), update=True)
        matrix[torch.from_numpy(rows)] = fresh
        mean, expected = dense(rounded, matrix, verdicts, grades, **options)
        torch.testing.assert_close(part.double(), mean, rtol=1e-5, atol=1e-4)
        # The weights of the gradient are rounded.
        difference = (gradient - expected[rows]).norm() / expected[rows].norm()
        assert 0 < difference < torch.finfo(dtype).eps
    assert gradient.dtype == torch.float32


def test_small_weights_of_a_passage_keep_their_precision():
    scores = ExactSoftmax(0.05).scores
    queries, passages = unit_rows(50, 8, 1, torch.float16), unit_rows(3, 8, 2, torch.float16)
    weights = torch.rand(50, 3) * torch.tensor([1.0, 1e-9, 0.0])  # 1e-9 is 0 in float16
    gradient = scores.passage_gradient(weights, queries, passages)
    expected = weights.T @ queries.float()
    difference = (gradient - expected).norm(dim=1)
    assert (difference <= 1e-3 * expected.norm(dim=1)).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_gpu", [False, True])
def test_partitions_do_not_drift_over_epochs_of_rounded_blocks(
    judged, form, dtype, is_gpu, monkeypatch: pytest.MonkeyPatch
):
    verdicts, grades = judged
    if is_gpu:
        half_precision_operands(monkeypatch, dtype)
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2, dtype)
    half = passage_softmax(ExactSoftmax(0.05, form, 0.1), queries, matrix, verdicts, grades)
    rng = np.random.default_rng(0)
    for step in range(200):
        rows = rng.choice(30, size=4, replace=False)
        moved = half.passages.matrix[rows].float() + 0.3 * unit_rows(4, 8, 10 + step)
        half.block(rows, torch.nn.functional.normalize(moved, dim=1), update=True)
    again = passage_softmax(
        ExactSoftmax(0.05, form, 0.1), queries, half.passages.matrix, verdicts, grades
    )
    torch.testing.assert_close(half.z, again.z, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(half.scores, again.scores, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(half.totals, again.totals, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("form", FORMS)
def test_block_gradients_at_the_start_add_up_to_the_whole_gradient(judged, form):
    verdicts, grades = judged
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2)
    half = passage_softmax(ExactSoftmax(0.05, form), queries, matrix, verdicts, grades)
    blocks = np.array_split(np.random.default_rng(1).permutation(30), 7)
    parts = {tuple(rows): half.block(rows, matrix[rows], update=False)[1] for rows in blocks}
    _, expected = dense(
        queries, matrix, verdicts, grades, temperature=0.05, form=form, label_smoothing=0.0
    )
    for rows, gradient in parts.items():
        torch.testing.assert_close(gradient.double(), expected[list(rows)], rtol=1e-4, atol=1e-5)


class OutOfMemoryAt(TorchDispatchMode):
    """Refuses one matrix product or one write by index, counted from 0."""

    OPERATIONS = (torch.ops.aten.mm.default, torch.ops.aten.index_put_.default)

    def __init__(self, refused: int | None) -> None:
        super().__init__()
        self.refused, self.done = refused, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in self.OPERATIONS:
            if self.done == self.refused:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            self.done += 1
        return func(*args, **(kwargs or {}))


def test_a_block_that_runs_out_of_memory_can_be_repeated(judged):
    verdicts, grades = judged
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2)
    rows, fresh = np.arange(10), unit_rows(10, 8, 9)
    loss = ExactSoftmax(0.05, label_smoothing=0.1, tile_size=2)

    def block(refused: int | None) -> tuple[PassageSoftmax, torch.Tensor, int]:
        half = passage_softmax(loss, queries, matrix, verdicts, grades)
        memory = OutOfMemoryAt(refused)
        with memory, contextlib.suppress(torch.OutOfMemoryError):
            half.block(rows, fresh, update=True)
        return half, half.block(rows, fresh, update=True)[0], memory.done

    undisturbed, expected, operations = block(None)
    assert operations > 9, "three tiles, each with several products"
    for refused in range(operations):
        half, mean, _ = block(refused)
        torch.testing.assert_close(mean, expected)
        torch.testing.assert_close(half.z, undisturbed.z)
        torch.testing.assert_close(half.scores, undisturbed.scores)
        torch.testing.assert_close(half.totals, undisturbed.totals)
        assert torch.equal(half.passages.matrix, undisturbed.passages.matrix)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_ignored_pair_changes_no_bit_of_a_block(judged, form, smoothing):
    verdicts, _ = judged
    verdicts[:, 11] = Verdict.IGNORE
    queries, matrix = unit_rows(6, 8, 1), unit_rows(30, 8, 2)
    rows, fresh = np.array([3, 11, 20]), unit_rows(3, 8, 5)
    other = fresh.clone()
    other[1] = 50 * unit_rows(1, 8, 99)

    def computed(embeddings):
        loss = ExactSoftmax(0.5, form, smoothing, tile_size=4)
        half = passage_softmax(loss, queries, matrix, verdicts)
        mean, gradient = half.block(rows, embeddings, update=True)
        return mean, gradient, half.z

    ours, theirs = computed(fresh), computed(other)
    for one, another in zip(ours, theirs, strict=True):
        assert torch.equal(one, another)
    assert (ours[1][1] == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_most_moved_passages_have_the_largest_dense_gradients(judged, form, monkeypatch):
    monkeypatch.setattr(gradients, "NORM_BLOCK", 7)
    verdicts, grades = judged
    queries, matrix = unit_rows(6, 8, 1, torch.float64), unit_rows(30, 8, 2, torch.float64)
    half = passage_softmax(ExactSoftmax(0.05, form), queries, matrix, verdicts, grades)
    _, expected = dense(queries, matrix, verdicts, grades, temperature=0.05, form=form)
    largest = np.argsort(-expected.norm(dim=1).numpy())
    for count in (1, 5, 30):
        chosen = gradients.most_moved_passages(half, count)
        assert chosen.tolist() == sorted(largest[:count])
    assert torch.equal(half.passages.matrix, matrix)


def test_a_block_takes_6nbd_operations_in_the_memory_of_a_tile():
    n, total, dim, size, tile_size = 2_000, 5_000, 8, 64, 128
    verdicts = np.zeros((n, total), np.int8)
    verdicts[np.arange(n), np.arange(n)] = Verdict.POSITIVE
    half = passage_softmax(
        ExactSoftmax(0.05, tile_size=tile_size), unit_rows(n, dim, 1), unit_rows(total, dim, 2),
        verdicts,
    )  # fmt: skip
    rows, fresh = np.arange(100, 100 + size), unit_rows(size, dim, 3)
    with FlopCounterMode(display=False) as flops, LargestTensor() as memory:
        half.block(rows, fresh, update=True)
    assert flops.get_total_flops() == 6 * n * size * dim
    assert memory.largest <= max(total * dim, tile_size * size)


@pytest.mark.parametrize("form", FORMS)
def test_partitions_of_many_queries_take_the_memory_of_a_few(form, monkeypatch):
    n, total, dim, few = 200, 300, 4, 8
    verdicts = np.zeros((n, total), np.int8)
    verdicts[np.arange(n), np.arange(n)] = Verdict.POSITIVE
    queries, matrix = unit_rows(n, dim, 1, torch.float64), unit_rows(total, dim, 2, torch.float64)
    queries[:, 0] += 3
    matrix[-1] = torch.tensor([5.0, 0, 0, 0])
    rows, fresh = np.array([total - 1]), matrix[-1:] / 5
    loss = ExactSoftmax(0.05, form, 0.1)

    def computed() -> tuple[torch.Tensor, ...]:
        half = passage_softmax(loss, queries, matrix, verdicts)
        initial = half.z
        assert loss.temperature * initial.min() > 10, "the last passage is nearly all of each z"
        half.block(rows, fresh, update=True)
        return initial, half.z, half.scores, half.totals

    whole = computed()
    monkeypatch.setattr(passage_softmax_module, "QUERIES_AT_A_TIME", few)
    with LargestTensor() as memory:
        divided = computed()
    assert memory.largest <= max(total * dim, few * total)
    for one, another in zip(divided, whole, strict=True):
        torch.testing.assert_close(one, another)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_partitions_without_a_large_block_take_the_memory_of_a_tile(form, similarity):
    n, total, size, dim, tile_size = 20, 900, 300, 4, 32
    rng = np.random.default_rng(1)
    verdicts = rng.choice([0] * 200 + [1, 2], size=(n, total)).astype(np.int8)
    queries, matrix = unit_rows(n, dim, 1, torch.float64), unit_rows(total, dim, 2, torch.float64)
    rows = np.sort(rng.permutation(total)[:size])
    matrix[rows] = torch.nn.functional.normalize(queries.mean(0), dim=0) + 0.1 * matrix[rows]
    options = {"temperature": 0.02, "form": form, "similarity": similarity}
    loss = ExactSoftmax(0.02, form, tile_size=tile_size, similarity=similarity)
    half = passage_softmax(loss, queries, matrix, verdicts)

    heavy = torch.arange(n)
    with LargestTensor() as memory:
        rest = half._partitions_without(heavy, rows)
    assert memory.largest <= max(total, n * tile_size, int((verdicts != 0).sum()))
    without = verdicts.copy()
    without[:, rows] = Verdict.IGNORE
    others = passage_softmax(loss, queries, matrix, without)
    torch.testing.assert_close(rest, others.z)

    fresh = unit_rows(size, dim, 3, torch.float64)
    part, gradient = half.block(rows, fresh, update=True)
    matrix[rows] = fresh
    mean, expected = dense(
        queries,
        matrix,
        verdicts,
        np.ones_like(verdicts, np.float32),
        label_smoothing=0.0,
        **options,
    )
    torch.testing.assert_close(part, mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected[rows], rtol=1e-4, atol=1e-5)
