"""The exact softmax with its matrix in slices over two processes gives what one process gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.dense_reference import corpus_labels, unit_rows, value_and_gradient
from helpers.ranks import join_cpu_group, start_ranks
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.pipeline.worker import leave

pytestmark = pytest.mark.slow
SHARES = {
    "even": (slice(0, 3), slice(3, 6)),
    "uneven": (slice(0, 1), slice(1, 6)),
    "one has none": (slice(0, 6), slice(6, 6)),
}
FORMS = ("one_vs_negatives", "soft_label", "log_marginal")


def on_a_rank(rank: int, folder: str, verdicts, grades) -> None:
    ranks = join_cpu_group(rank, 2, Path(folder))
    frozen = FrozenMatrix.slice_of(unit_rows(30, 8, 2).numpy(), ranks)
    labels = corpus_labels(verdicts, grades)
    computed = {}
    for share, slices in SHARES.items():
        for form in FORMS:
            loss, queries = (
                ExactSoftmax(0.05, form, 0.1, tile_size=4),
                unit_rows(6, 8, 1)[slices[rank]],
            )
            if len(queries):
                computed[share, form] = value_and_gradient(
                    lambda q, loss=loss: loss(q, labels, frozen), queries
                )
            else:  # an empty batch comes out of no encoder, and has no graph
                computed[share, form] = (
                    loss(queries, labels, frozen).detach().double(),
                    queries.double(),
                )
    torch.save(computed, f"{folder}/{rank}.pt")
    leave(0)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory):
    rng = np.random.default_rng(5)
    verdicts = rng.choice([0, 0, 0, 1, 2], size=(6, 30)).astype(np.int8)
    verdicts[2, :15] = 2  # all of the first slice is masked for one query
    verdicts[4] = 2
    grades = rng.integers(1, 4, size=verdicts.shape).astype(np.float32)
    folder: Path = tmp_path_factory.mktemp("ranks")
    start_ranks(on_a_rank, 2, str(folder), verdicts, grades)
    return verdicts, grades, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("form", FORMS)
def test_two_ranks_give_the_losses_and_gradients_of_one(two_ranks, share, form):
    verdicts, grades, computed = two_ranks
    loss, labels, frozen = (
        ExactSoftmax(0.05, form, 0.1),
        corpus_labels(verdicts, grades),
        FrozenMatrix.whole(unit_rows(30, 8, 2)),
    )
    queries = unit_rows(6, 8, 1).requires_grad_()
    losses = loss(queries, labels, frozen)
    for rank, own in enumerate(SHARES[share]):
        weights = torch.linspace(0.5, 1.5, own.stop - own.start)
        (gradient,) = torch.autograd.grad((losses[own] * weights).sum(), queries, retain_graph=True)
        theirs, their_gradient = computed[rank][share, form]
        torch.testing.assert_close(theirs, losses[own].detach().double(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(their_gradient, gradient[own].double(), rtol=1e-5, atol=2e-5)
