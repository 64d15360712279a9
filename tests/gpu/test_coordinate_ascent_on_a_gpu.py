"""Both half-phases of coordinate ascent on a GPU: the passages' products, and a whole training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.dense_reference import dense_losses, training_labels, unit_rows
from helpers.train_inputs import COORDINATE_ASCENT, train_inputs, train_section
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.records import Similarity
from recipekit.stages.train.train import train
from recipekit.training.gradients import most_moved_passages

DEVICE = "cuda"
N, TOTAL, BLOCK = 40, 700, 64
"""Queries, passages, and passages of a block."""


@pytest.mark.parametrize("form", ["one_vs_negatives", "soft_label", "log_marginal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_blocks_of_passages_give_the_dense_loss_and_gradient(
    form: Any, dtype: torch.dtype, similarity: Similarity
) -> None:
    verdicts = np.random.default_rng(5).choice([0] * 18 + [1, 2], size=(N, TOTAL)).astype(np.int8)
    grades = np.ones(verdicts.shape, np.float32)
    loss = ExactSoftmax(0.05, form, 0.1, tile_size=70, similarity=similarity)
    queries, matrix = unit_rows(N, 64, 1).to(DEVICE), unit_rows(TOTAL, 64, 2, dtype)
    passages = FrozenMatrix.whole(matrix.to(DEVICE, copy=True))
    half = loss.over_passages(FrozenMatrix.whole(queries), passages, training_labels(verdicts))
    half.compute()
    rounded = (queries / 0.05).to(dtype).double().cpu() * 0.05
    for turn in range(3):
        rows = np.random.default_rng(turn).choice(TOTAL, BLOCK, replace=False)
        fresh = unit_rows(BLOCK, 64, 3 + turn).to(dtype)
        value, gradient = half.block(rows, fresh.float().to(DEVICE), update=True)
        matrix[torch.from_numpy(rows)] = fresh
        leaf = matrix.double().requires_grad_()
        options = {"form": form, "label_smoothing": 0.1, "similarity": similarity}
        mean = dense_losses(rounded, leaf, verdicts, grades, temperature=0.05, **options).mean()
        (expected,) = torch.autograd.grad(mean, leaf)
        torch.testing.assert_close(value.double().cpu(), mean.detach(), rtol=1e-4, atol=1e-4)
        difference = (gradient.double().cpu() - expected[rows]).norm() / expected[rows].norm()
        assert difference < max(1e-3, torch.finfo(dtype).eps)
    assert len(most_moved_passages(half, 10)) == 10


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("gradient", ["block", "corpus"])
def test_both_half_phases_lower_the_exact_loss(
    precision: str, gradient: str, tiny_model: Path, tiny_dataset: Any, tmp_path: Path
) -> None:
    phase = {**COORDINATE_ASCENT, "query_epochs": 2, "passage_epochs": 2, "cycles": 2}
    phase |= {"passage_gradient": gradient, "separate_towers": True}
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset)
    assert DEVICE in str(inputs.ranks.device)
    section = train_section(phase, precision=precision, keep_weights="last", learning_rate=3e-4)
    train(inputs, section, tmp_path / "out")
    training = json.loads((tmp_path / "out" / "training.json").read_text())
    losses = [part["exact_loss"] for part in training["parts"]]
    assert losses[-1] < losses[0]
