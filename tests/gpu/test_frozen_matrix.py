"""Products with frozen passages on a GPU, and passages that are read from the host by tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.dense_reference import training_labels, unit_rows, value_and_gradient
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.records import Similarity

N, TOTAL = 16, 5000
"""Queries and passages."""


def random_labels() -> CorpusLabels:
    """The labels of the queries: some passages are positive, some are ignored."""
    verdicts = np.random.default_rng(5).choice([0, 0, 0, 1, 2], size=(N, TOTAL)).astype(np.int8)
    return CorpusLabels.of_queries(training_labels(verdicts), np.arange(N), "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_passages_on_the_host_give_the_results_of_passages_on_the_gpu(
    dtype: torch.dtype, similarity: Similarity
) -> None:
    labels = random_labels()
    loss = ExactSoftmax(0.05, "soft_label", 0.1, tile_size=700, similarity=similarity)
    host = FrozenMatrix.whole(unit_rows(TOTAL, 64, 2, dtype))
    queries = unit_rows(N, 64, 1).to("cuda")
    results = [
        value_and_gradient(lambda q, corpus=corpus: loss(q, labels, corpus).cpu(), queries)
        for corpus in (host, host.to("cuda"))
    ]
    # Sums by index are added in any order on a GPU.
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_half_precision_products_give_the_results_of_float32_ones(
    dtype: torch.dtype, similarity: Similarity
) -> None:
    labels = random_labels()
    loss = ExactSoftmax(0.05, "log_marginal", tile_size=700, similarity=similarity)
    stored = unit_rows(TOTAL, 64, 2, dtype).to("cuda")
    # The queries are rounded for the first, so they are rounded for both.
    queries = (unit_rows(N, 64, 1).to("cuda") / 0.05).to(dtype).float() * 0.05
    (half, half_gradient), (full, full_gradient) = (
        value_and_gradient(lambda q, own=own: loss(q, labels, own), queries)
        for own in (FrozenMatrix.whole(stored), FrozenMatrix.whole(stored.float()))
    )
    torch.testing.assert_close(half, full, rtol=1e-4, atol=1e-4)
    difference = (half_gradient - full_gradient).norm() / full_gradient.norm()
    assert difference < torch.finfo(dtype).eps
