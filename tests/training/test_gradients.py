"""A step's gradient is that of the whole global batch, however the batch is divided."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.dense_reference import dense_losses, unit_rows
from helpers.dense_reference import training_labels as training_labels_of
from recipekit.component import SingleProcess
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.tokens import tokenize_table
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.infonce_math import InfoNCE
from recipekit.losses.passage_loss import PassageLoss
from recipekit.testing import RecordingProgress, context
from recipekit.training.batches import labelled_batch
from recipekit.training.forward import EncoderForward
from recipekit.training.gradients import (
    batch_gradient,
    corpus_gradient,
    corpus_passages_gradient,
    passage_block_gradient,
)
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


def test_passes_that_fit_together_embed_each_text_once(make_forward, tiny_dataset):
    labels, loss = training_labels(tiny_dataset), InfoNCE(0.05)
    drawn = labelled_batch(labels, BATCH, 0, SEED)
    rows = {"query": labels.queries[BATCH], "passage": drawn.passages}
    mask = torch.from_numpy(drawn.mask)
    embedded, gradients = [], []
    for budget in (10_000, 1):
        forward = make_forward(budget)
        forward.passes = lambda rows, side: [[half] for half in np.array_split(range(len(rows)), 2)]
        batch_gradient(forward, loss, rows, mask, SEED, SingleProcess())
        embedded.append(sum(map(len, forward.embedded["passage"])))
        gradients.append(gradient(forward))
    assert embedded == [len(drawn.passages), 2 * len(drawn.passages)]
    assert torch.equal(*gradients)


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


# Passages against all frozen queries
# -------------------------------------------------------------------------------------------------

FORMS = ("one_vs_negatives", "soft_label", "log_marginal")
TOTAL = 36
"""Passages of the tiny data set."""
OPTIONS = {"temperature": 0.2, "label_smoothing": 0.1}


class DensePassages:
    """The mean loss of frozen queries in float64, with a gradient through the encoder."""

    def __init__(self, form: str) -> None:
        rng = np.random.default_rng(3)
        self.form = form
        self.verdicts = rng.choice([0, 0, 0, 1, 2], size=(7, TOTAL)).astype(np.int8)
        self.grades = rng.integers(1, 4, size=self.verdicts.shape).astype(np.float32)
        self.queries = unit_rows(7, 32, 1)

    def half(self, matrix: torch.Tensor) -> PassageLoss:
        """The loss under test, over a copy of a matrix of passages."""
        loss = ExactSoftmax(form=self.form, tile_size=3, **OPTIONS)
        frozen = FrozenMatrix.whole(self.queries), FrozenMatrix.whole(matrix.clone())
        half = loss.over_passages(*frozen, training_labels_of(self.verdicts, self.grades))
        half.compute()
        return half

    def mean(self, passages: torch.Tensor) -> torch.Tensor:
        return dense_losses(
            self.queries, passages, self.verdicts, self.grades, form=self.form, **OPTIONS
        ).mean()


def assert_close_norms(computed: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.norm() > 1e-3
    assert (computed - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trained", [20, TOTAL])
def test_a_block_of_passages_has_the_dense_gradient_scaled_to_all(make_forward, form, trained):
    dense = DensePassages(form)
    matrix = unit_rows(TOTAL, 32, 2)
    blocks = np.split(np.random.default_rng(4).permutation(TOTAL)[:trained], [5, 6, 14])
    for budget in (20, 10_000):
        half, stored = dense.half(matrix), matrix.clone()
        for turn, block in enumerate(blocks):
            whole = make_forward(10_000)
            live = whole(block, "passage", SEED)
            mean = dense.mean(stored.index_put((torch.from_numpy(block),), live))
            (mean * trained / len(block)).backward()
            expected = gradient(whole)

            divided = make_forward(budget)
            seed = [*SEED, turn]
            result = passage_block_gradient(divided, half, block, seed, SingleProcess(), trained)
            assert float(result.loss) == pytest.approx(float(mean.detach()), rel=1e-5)
            assert_close_norms(gradient(divided), expected)
            stored[torch.from_numpy(block)] = live.detach()  # the next block sees the new ones


@pytest.mark.parametrize("form", FORMS)
def test_passage_gradients_of_blocks_and_of_the_corpus_are_the_dense_one(make_forward, form):
    dense, everything = DensePassages(form), np.arange(TOTAL)
    whole = make_forward(10_000)
    live = whole(everything, "passage", SEED)
    mean = dense.mean(live)
    mean.backward()
    expected, matrix = gradient(whole), live.detach()

    # Blocks of unequal sizes: the average of a step is over the blocks that a passage can be in.
    blocks = np.split(np.random.default_rng(4).permutation(TOTAL), [5, 6, 20])
    half, average = dense.half(matrix), torch.zeros_like(expected)
    for block in blocks:
        forward = make_forward(20)
        passage_block_gradient(forward, half, block, SEED, SingleProcess(), TOTAL)
        average += gradient(forward) * len(block) / TOTAL
    assert_close_norms(average, expected)

    for budget in (20, 10_000):
        forward = make_forward(budget)
        half = dense.half(matrix)
        result = corpus_passages_gradient(forward, half, SEED, SingleProcess())
        assert float(result.loss) == pytest.approx(float(mean.detach()), rel=1e-5)
        assert_close_norms(gradient(forward), expected)
