"""InfoNCE with three-state masks equals cross-entropy and the loss of sentence-transformers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from helpers.dense_reference import (
    dense_losses,
    rows_of_lengths,
    unit_rows,
    value_and_gradient,
)
from recipekit.losses.infonce import InfoNCESpec
from recipekit.losses.infonce_math import InfoNCE
from recipekit.records import Verdict
from recipekit.testing import context

DIAGONAL = torch.eye(
    6, dtype=torch.int8
)  # each query's own passage is its positive, the others' are negatives


def test_with_one_positive_each_it_is_the_cross_entropy_of_the_batch():
    queries, passages = unit_rows(6, 16, 1), unit_rows(6, 16, 2)
    ours = value_and_gradient(lambda q: InfoNCE(0.05)(q, passages, DIAGONAL), queries)
    dense = value_and_gradient(
        lambda q: cross_entropy(q @ passages.T / 0.05, torch.arange(6), reduction="none"), queries
    )
    torch.testing.assert_close(ours, dense, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("directions", ["query", "both"])
def test_it_equals_the_loss_of_sentence_transformers_with_hard_negatives(directions):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    queries, positives, hard = unit_rows(6, 16, 1), unit_rows(6, 16, 2), unit_rows(6, 16, 3)
    their_name = {"query": ("query_to_doc",), "both": ("query_to_doc", "doc_to_query")}[directions]
    theirs = MultipleNegativesRankingLoss(
        model=None, directions=their_name, partition_mode="per_direction"
    )
    expected = theirs.compute_loss_from_embeddings([queries, positives, hard], labels=None)
    mask = torch.cat([DIAGONAL, torch.zeros_like(DIAGONAL)], 1)
    ours = InfoNCE(0.05, directions)(queries, torch.cat([positives, hard]), mask).mean()
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_with_one_softmax_it_is_the_gte_loss_of_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    queries, positives = unit_rows(6, 16, 1), unit_rows(6, 16, 2)
    every = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
    theirs = MultipleNegativesRankingLoss(model=None, directions=every, partition_mode="joint")
    expected = theirs.compute_loss_from_embeddings([queries, positives], labels=None)
    loss = InfoNCE(0.05, "both", ("query", "passage"), one_softmax=True)
    ours = loss(queries, positives, DIAGONAL)  # log(1 + e^(z - s))
    # The library has the positive pair in the denominator twice, once for each direction.
    counted_twice = torch.log1p(ours.exp()).mean()
    torch.testing.assert_close(counted_twice, expected, rtol=1e-5, atol=1e-5)


def compared(left, right, loss: InfoNCE):
    """The score of two vectors, or of all pairs of the rows of two matrices."""
    if left.ndim == 1:
        return compared(left[None], right[None], loss)[0, 0]
    if loss.similarity == "euclidean":
        return (left[:, None] - right).square().sum(2) / (-2 * loss.temperature)
    return left @ right.T / loss.temperature


def in_loops(queries, passages, verdicts, loss: InfoNCE):
    """Every term by its definition, in float64."""
    q, d = queries.double(), passages.double()
    scores = compared(q, d, loss)
    negative = (verdicts == Verdict.NEGATIVE) | (verdicts == Verdict.UNJUDGED)
    losses = []
    for i, row in enumerate(verdicts):
        total = scores.sum() * 0
        positives = [j for j, verdict in enumerate(row) if verdict == Verdict.POSITIVE]
        for p in positives:
            of_query = [scores[i, j] for j in range(len(row)) if negative[i, j]]
            of_passage = [scores[k, p] for k in range(len(q)) if negative[k, p]]
            if loss.directions == "query":
                of_passage = []
            if "query" in loss.same_side:
                of_query += [compared(q[i], q[k], loss) for k in range(len(q)) if negative[k, p]]
            if "passage" in loss.same_side:
                of_passage += [
                    compared(d[p], d[j], loss) for j in range(len(row)) if negative[i, j]
                ]
            softmaxes = [of_query, of_passage] if loss.directions == "both" else [of_query]
            if loss.one_softmax:
                softmaxes = [of_query + of_passage]
            for rivals in softmaxes:
                ranked = torch.log_softmax(torch.stack([scores[i, p], *rivals]), 0)[0]
                total = total - ranked / len(positives) / len(softmaxes)
        losses.append(total)
    return torch.stack(losses)


VARIANTS = [
    {},
    {"directions": "both"},
    {"same_side": ("query",)},
    {"directions": "both", "same_side": ("passage",)},
    {"directions": "both", "same_side": ("query", "passage")},
    {"directions": "both", "same_side": ("query", "passage"), "one_softmax": True},
    {"same_side": ("passage",), "one_softmax": True},
]


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 10)).flatmap(
        lambda shape: hnp.arrays(np.int8, shape, elements=st.sampled_from(Verdict))
    ),
    st.integers(0, 2**31),
    st.sampled_from([0.02, 0.05, 1.0]),
    st.sampled_from(VARIANTS),
    st.sampled_from(["cosine", "euclidean"]),
)
def test_values_and_gradients_are_those_of_the_definition(
    verdicts, seed, temperature, variant, similarity
):
    queries, passages = unit_rows(len(verdicts), 8, seed), unit_rows(verdicts.shape[1], 8, seed + 1)
    if similarity == "euclidean":
        queries, passages = rows_of_lengths(queries, seed), rows_of_lengths(passages, seed + 1)
    mask = torch.from_numpy(verdicts)
    loss = InfoNCE(temperature, **variant, similarity=similarity)

    def of_both_sides(losses, queries, passages):
        queries, passages = queries.clone().requires_grad_(), passages.clone().requires_grad_()
        values = losses(queries, passages).double()
        gradients = torch.autograd.grad(
            (values * torch.linspace(0.5, 1.5, len(values))).sum(), (queries, passages)
        )
        return [values, *(gradient.double() for gradient in gradients)]

    ours = of_both_sides(lambda q, p: loss(q, p, mask), queries, passages)
    expected = of_both_sides(lambda q, p: in_loops(q, p, verdicts, loss), queries, passages)
    torch.testing.assert_close(ours, expected, rtol=3e-5, atol=3e-5 / temperature)


def test_it_has_the_form_of_the_exact_softmax(judged):
    verdicts, _ = judged
    queries, passages = unit_rows(6, 16, 1), unit_rows(30, 16, 2)
    uniform = np.ones(verdicts.shape, np.float32)
    expected = dense_losses(
        queries, passages, verdicts, uniform, temperature=0.05, form="one_vs_negatives"
    )
    torch.testing.assert_close(
        InfoNCE(0.05)(queries, passages, torch.from_numpy(verdicts)).double(),
        expected,
        rtol=1e-5,
        atol=2e-5,
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradcheck_with_empty_and_fully_masked_rows(judged, variant):
    mask = torch.from_numpy(judged[0])
    loss, passages = InfoNCE(0.5, **variant), unit_rows(30, 5, 1, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q, p: loss(q, p, mask),
        (unit_rows(6, 5, 2, torch.float64).requires_grad_(), passages),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_extreme_scores_and_empty_rows_stay_finite(judged, variant):
    mask, passages = torch.from_numpy(judged[0]), unit_rows(30, 8, 2)
    losses, gradient = value_and_gradient(
        lambda q: InfoNCE(1e-4, **variant)(q, passages, mask), unit_rows(6, 8, 1)
    )
    assert losses.isfinite().all() and gradient.isfinite().all()
    assert (losses[[3, 5]] == 0).all()  # no positive
    assert (gradient[5] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_ignored_passage_changes_no_bit_of_the_result(judged, variant):
    mask, passages = torch.from_numpy(judged[0]), unit_rows(30, 8, 2)
    mask[:, 11] = Verdict.IGNORE
    loss, queries = InfoNCE(0.05, **variant), unit_rows(6, 8, 1)
    before = value_and_gradient(lambda q: loss(q, passages, mask), queries)
    passages[11] = 50 * unit_rows(1, 8, 99)
    after = value_and_gradient(lambda q: loss(q, passages, mask), queries)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_positive_is_in_no_other_positives_denominator():
    queries, passages = (
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
    )
    mask = torch.tensor([[Verdict.POSITIVE, Verdict.POSITIVE, Verdict.NEGATIVE]], dtype=torch.int8)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert InfoNCE(1.0)(queries, passages, mask).item() == pytest.approx(expected)


def test_the_spec_builds_the_loss_that_it_declares(tmp_path: Path):
    spec = InfoNCESpec(temperature=0.02, directions="both")
    assert spec.build(context(tmp_path)) == InfoNCE(0.02, "both")
    gte = {"directions": "both", "same_side_negatives": ("query", "passage"), "one_softmax": True}
    assert InfoNCESpec(**gte).build(context(tmp_path)) == InfoNCE(
        0.05, "both", ("query", "passage"), one_softmax=True
    )
    assert spec.negatives_from == "batch"


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"directions": "passage"}, {"same_side_negatives": ("passage",)}]
)
def test_the_spec_refuses_values_out_of_range(wrong):
    with pytest.raises(ValidationError):
        InfoNCESpec(**wrong)
