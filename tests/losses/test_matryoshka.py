"""Matryoshka is the weighted sum of the inner loss over prefixes, for every kind of loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize

from helpers.dense_reference import (
    corpus_labels,
    dense_losses,
    training_labels,
    unit_rows,
    value_and_gradient,
)
from recipekit.errors import RunError
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.examples import BatchExamples
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.infonce_math import InfoNCE
from recipekit.losses.matryoshka import MatryoshkaSpec
from recipekit.losses.matryoshka_math import Matryoshka, MatryoshkaOverCorpus, Prefixes
from recipekit.losses.sentence_transformers_loss import SentenceTransformersLoss
from recipekit.testing import bind, context

PREFIXES = Prefixes((16, 6, 2), (1.0, 0.5, 2.0), normalized=True)


def cut(vectors: torch.Tensor, dimensions: int, normalized: bool = True) -> torch.Tensor:
    prefix = vectors[:, :dimensions]
    return normalize(prefix, dim=1) if normalized else prefix


def test_over_a_batch_it_is_the_weighted_sum_on_truncated_vectors(judged):
    mask = torch.from_numpy(judged[0])
    queries, passages, loss = unit_rows(6, 16, 1), unit_rows(30, 16, 2), InfoNCE(0.05, "both")
    expected = sum(weight * loss(cut(queries, m), cut(passages, m), mask) for m, weight in PREFIXES)
    torch.testing.assert_close(Matryoshka(loss, PREFIXES)(queries, passages, mask), expected)


def test_over_examples_it_is_the_weighted_sum_of_the_librarys_loss():
    from sentence_transformers.sentence_transformer import losses as library

    queries, passages = unit_rows(5, 16, 1), unit_rows(5, 16, 2)
    examples = BatchExamples(torch.arange(5), torch.arange(5)[:, None])
    inner = SentenceTransformersLoss("MultipleNegativesRankingLoss", {}, "cosine")
    theirs = library.MultipleNegativesRankingLoss(None)
    expected = sum(
        weight * theirs.compute_loss_from_embeddings([queries[:, :m], passages[:, :m]], None)
        for m, weight in PREFIXES
    )
    torch.testing.assert_close(Matryoshka(inner, PREFIXES)(queries, passages, examples), expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("form", ["one_vs_negatives", "soft_label", "log_marginal"])
def test_over_the_corpus_values_and_gradients_are_those_of_the_dense_sum(judged, form, similarity):
    verdicts, grades = judged
    queries, matrix = 0.8 * unit_rows(6, 16, 1), 1.5 * unit_rows(30, 16, 2)
    normalized = similarity == "cosine"
    prefixes = Prefixes((16, 6, 2), (1.0, 0.5, 2.0), normalized)
    inner = ExactSoftmax(0.1, form, tile_size=7, similarity=similarity)
    loss = MatryoshkaOverCorpus(inner, prefixes)
    labels, corpus = corpus_labels(verdicts, grades), FrozenMatrix.whole(matrix)

    def dense(q):
        return sum(
            weight
            * dense_losses(
                cut(q, m, normalized),
                cut(matrix, m, normalized),
                verdicts,
                grades,
                temperature=0.1,
                form=form,
                similarity=similarity,
            )
            for m, weight in prefixes
        )

    ours = value_and_gradient(lambda q: loss(q, labels, corpus), queries)
    torch.testing.assert_close(ours, value_and_gradient(dense, queries), rtol=1e-4, atol=1e-4)


def passage_half(judged, matrix):
    verdicts, grades = judged
    loss = MatryoshkaOverCorpus(ExactSoftmax(0.1), PREFIXES)
    queries = FrozenMatrix.whole(unit_rows(6, 16, 1))
    half = loss.over_passages(
        queries, FrozenMatrix.whole(matrix.clone()), training_labels(verdicts, grades)
    )
    half.compute()
    return half


def dense_mean(judged, matrix):
    verdicts, grades = judged
    queries = unit_rows(6, 16, 1)
    return sum(
        weight
        * dense_losses(
            cut(queries, m),
            cut(matrix, m),
            verdicts,
            grades,
            temperature=0.1,
            form="one_vs_negatives",
        ).mean()
        for m, weight in PREFIXES
    )


def test_a_block_of_passages_has_the_gradient_of_the_dense_sum(judged):
    matrix, rows = unit_rows(30, 16, 2), np.array([3, 4, 11, 20])
    half = passage_half(judged, matrix)
    new = unit_rows(4, 16, 9)
    for block in (matrix[rows], new):
        current = half.passages.matrix.clone().double()
        leaf = block.double().requires_grad_()
        expected = dense_mean(judged, current.index_copy(0, torch.from_numpy(rows), leaf))
        expected.backward()
        value, gradient = half.block(rows, block, update=True)
        torch.testing.assert_close(value.double(), expected.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient.double(), leaf.grad, rtol=1e-3, atol=1e-5)
    assert torch.equal(half.passages.matrix[rows], new)


def test_a_saved_passage_half_continues_as_before(judged, tmp_path):
    matrix, rows = unit_rows(30, 16, 2), np.array([3, 4, 11, 20])
    half = passage_half(judged, matrix)
    half.block(rows, unit_rows(4, 16, 9), update=True)
    half.save(tmp_path)
    other = passage_half(judged, torch.zeros_like(matrix))
    other.load(tmp_path)
    assert torch.equal(other.passages.matrix, half.passages.matrix)
    following = np.array([0, 5, 11]), unit_rows(3, 16, 10)
    for one, two in zip(
        half.block(*following, update=False), other.block(*following, update=False), strict=True
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize("use", ["infonce", "exact_softmax"])
def test_the_spec_takes_the_kind_of_its_inner_loss(use, tmp_path):
    spec = bind(MatryoshkaSpec, {"loss": {"use": use}, "dimensions": [8, 4]})
    inner = spec.loss.spec
    assert spec.negatives_from == inner.negatives_from and spec.examples is None
    assert spec.trains_passages == inner.trains_passages and spec.least_dimension == 8
    assert spec.build(context(tmp_path)).prefixes == Prefixes((8, 4), (1.0, 1.0), normalized=True)


@pytest.mark.parametrize("wrong", [{"dimensions": []}, {"dimensions": [4, 4]}, {"weights": [1.0]}])
def test_the_spec_refuses_dimensions_and_weights_that_do_not_fit(wrong):
    with pytest.raises(ValidationError):
        MatryoshkaSpec.model_validate({"loss": {"use": "infonce"}, "dimensions": [8, 4], **wrong})


def test_more_dimensions_than_the_vectors_have_are_refused():
    loss = Matryoshka(InfoNCE(0.05), Prefixes((32,), (1.0,), normalized=True))
    with pytest.raises(RunError, match=r"reads 32 dimensions, but the vectors .* have 16"):
        loss(unit_rows(2, 16, 1), unit_rows(2, 16, 2), torch.eye(2, dtype=torch.int8))
