"""A step's gradient is that of the whole global batch at once, however the batch is cut."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.tokens import tokenize_table
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.infonce_math import InfoNCE
from recipekit.losses.label_rows import FrozenMatrix, LabelRows
from recipekit.testing import RecordingProgress, context
from recipekit.training.batches import in_batch
from recipekit.training.labels import training_labels
from recipekit.training.phases import TrainingPhase
from recipekit.training.steps import Forward, frozen_gradient, in_batch_gradient

BATCH = np.array([4, 0, 7, 2, 9])
SEED = [13, 0, 0, 0, 0]


@pytest.fixture
def forward(tmp_path, tiny_model, tiny_dataset):
    """`forward(max_tokens_per_batch, dropout)`."""
    encoder = BiEncoderSpec(model=str(tiny_model), precision="fp32").build(context(tmp_path))
    tables = {"query": tiny_dataset.queries, "passage": tiny_dataset.passages}
    tokens = {
        side: tokenize_table(encoder, table, side, tmp_path / side, RecordingProgress())
        for side, table in tables.items()
    }

    def make(max_tokens_per_batch: int, dropout: bool = False) -> Forward:
        encoder.set_dropout(dropout)
        encoder.train()
        encoder.zero_grad()
        return Forward(
            encoder,
            tokens,
            Accelerator(cpu=True, mixed_precision="no"),
            False,
            dropout,
            max_tokens_per_batch,
        )

    return make


def gradient(forward: Forward) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in forward.encoder.parameters() if p.grad is not None])


def test_frozen_loss(forward, tiny_dataset):
    labels = training_labels(tiny_dataset)
    empty = np.empty(0, np.int32)
    rows = LabelRows.from_pairs(
        len(labels.queries),
        labels.positive.query,
        labels.positive.passage,
        labels.weight,
        empty,
        empty,
    )
    phase = TrainingPhase("test", ExactSoftmax(0.05), 1, 1, labels, rows)
    torch.manual_seed(1)
    frozen = FrozenMatrix.whole(torch.nn.functional.normalize(torch.randn(36, 32), dim=1))

    whole = forward(10_000)
    phase.loss(
        whole(labels.queries[BATCH], "query", SEED), rows.take(torch.from_numpy(BATCH)), frozen
    ).mean().backward()
    expected = gradient(whole)
    for budget in (8, 20, 10_000):
        cut = forward(budget)
        frozen_gradient(cut, phase, frozen, BATCH, SEED)
        torch.testing.assert_close(gradient(cut), expected, rtol=1e-4, atol=1e-6)


def test_cached_gradients(forward, tiny_dataset):
    labels = training_labels(tiny_dataset)
    phase = TrainingPhase("test", InfoNCE(0.05), 1, 1, labels)
    drawn = in_batch(labels, BATCH, 0, SEED)

    whole = forward(10_000)
    queries, passages = (
        whole(labels.queries[BATCH], "query", SEED),
        whole(drawn.passages, "passage", SEED),
    )
    loss = phase.loss(queries, passages, torch.from_numpy(drawn.mask)).mean()
    loss.backward()
    expected = gradient(whole)
    for budget in (8, 20, 10_000):
        cut = forward(budget)
        part, tokens = in_batch_gradient(cut, phase, BATCH, SEED)
        assert float(part) == pytest.approx(float(loss.detach()), rel=1e-5)
        assert tokens == whole.count(labels.queries[BATCH], "query") + whole.count(
            drawn.passages, "passage"
        )
        torch.testing.assert_close(gradient(cut), expected, rtol=1e-4, atol=1e-6)


def test_dropout_is_the_same_when_a_micro_batch_is_embedded_anew(forward):
    rows = np.array([1, 2, 3])
    dropping = forward(10_000, dropout=True)
    once, again, other = (
        dropping(rows, "query", seed).detach() for seed in (SEED, SEED, [*SEED, 1])
    )
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)
