"""A step's gradient is that of the whole global batch, however the batch is divided."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipekit.component import SingleProcess
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.tokens import tokenize_table
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.infonce_math import InfoNCE
from recipekit.testing import RecordingProgress, context
from recipekit.training.batches import labelled_batch
from recipekit.training.forward import EncoderForward
from recipekit.training.gradients import batch_gradient, corpus_gradient
from recipekit.training.labels import training_labels

BATCH = np.array([4, 0, 7, 2, 9])
SEED = [13, 0, 0, 0, 0]


@pytest.fixture
def make_forward(tmp_path, tiny_model, tiny_dataset):
    """`make_forward(max_tokens_per_batch, dropout)`: the forward pass without gradients so far."""
    encoder = BiEncoderSpec(model=str(tiny_model), precision="fp32").build(context(tmp_path))
    tokens = {
        side: tokenize_table(
            encoder, tiny_dataset.table(side), side, tmp_path / side, RecordingProgress()
        )
        for side in ("query", "passage")
    }

    def make(max_tokens_per_batch: int, dropout: bool = False) -> EncoderForward:
        encoder.set_dropout(dropout)
        encoder.train()
        encoder.zero_grad()
        return EncoderForward(
            encoder, tokens, SingleProcess(), "fp32", dropout, max_tokens_per_batch
        )

    return make


def gradient(forward: EncoderForward) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in forward.encoder.parameters() if p.grad is not None])


def test_micro_batches_add_up_to_the_gradient_against_a_corpus(make_forward, tiny_dataset):
    labels, loss = training_labels(tiny_dataset), ExactSoftmax(0.05)
    targets = CorpusLabels.of_queries(labels, BATCH)
    torch.manual_seed(1)
    corpus = FrozenMatrix.whole(torch.nn.functional.normalize(torch.randn(36, 32), dim=1))

    whole = make_forward(10_000)
    queries = whole(labels.queries[BATCH], "query", SEED)
    loss(queries, targets, corpus).mean().backward()
    expected = gradient(whole)
    for budget in (8, 20, 10_000):
        divided = make_forward(budget)
        corpus_gradient(divided, loss, labels, corpus, BATCH, SEED)
        torch.testing.assert_close(gradient(divided), expected, rtol=1e-4, atol=1e-6)


def test_cached_gradients_are_those_of_the_whole_batch(make_forward, tiny_dataset):
    labels, loss = training_labels(tiny_dataset), InfoNCE(0.05)
    drawn = labelled_batch(labels, BATCH, 0, SEED)

    whole = make_forward(10_000)
    queries = whole(labels.queries[BATCH], "query", SEED)
    passages = whole(drawn.passages, "passage", SEED)
    rows, mask = (
        {"query": labels.queries[BATCH], "passage": drawn.passages},
        torch.from_numpy(drawn.mask),
    )
    mean_loss = loss(queries, passages, mask).mean()
    mean_loss.backward()
    expected = gradient(whole)
    n_tokens = whole.tokens(labels.queries[BATCH], "query") + whole.tokens(
        drawn.passages, "passage"
    )
    for budget in (8, 20, 10_000):
        divided = make_forward(budget)
        result = batch_gradient(divided, loss, rows, mask, SEED, SingleProcess())
        assert float(result.loss) == pytest.approx(float(mean_loss.detach()), rel=1e-5)
        assert result.tokens == n_tokens
        torch.testing.assert_close(gradient(divided), expected, rtol=1e-4, atol=1e-6)


def test_a_micro_batch_that_is_embedded_again_has_the_same_dropout(make_forward):
    rows = np.array([1, 2, 3])
    forward = make_forward(10_000, dropout=True)
    once, again, other = (
        forward(rows, "query", seed).detach() for seed in (SEED, SEED, [*SEED, 1])
    )
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)


def test_a_pass_without_rows_takes_part_and_adds_no_gradient(make_forward):
    forward = make_forward(10_000)
    embeddings = forward(np.empty(0, dtype=np.int64), "query", SEED)
    assert embeddings.shape == (0, 32)
    embeddings.sum().backward()
    assert not gradient(forward).any()
