"""The exact softmax with its matrix in slices over processes gives what one process gives."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.dense_reference import (
    corpus_labels,
    rows_of_lengths,
    unit_rows,
    value_and_gradient,
)
from helpers.ranks import join_cpu_group, start_ranks
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.pipeline.worker import leave

pytestmark = pytest.mark.slow
N_QUERIES, N_PASSAGES = 6, 30
SHARES = ("even", "uneven", "all on one")
SIMILARITIES = ("dot", "euclidean")
FORMS = ("one_vs_negatives", "soft_label", "log_marginal")


def shares(kind: str, count: int) -> list[slice]:
    """The queries of each rank."""
    ends = {
        "even": [N_QUERIES * rank // count for rank in range(count + 1)],
        "uneven": [*range(count), N_QUERIES],
        "all on one": [0, *[N_QUERIES] * count],
    }[kind]
    return [slice(*pair) for pair in pairwise(ends)]


def passages() -> torch.Tensor:
    """Passages of different lengths."""
    return rows_of_lengths(unit_rows(N_PASSAGES, 8, 2), 3)


def on_a_rank(rank: int, count: int, folder: str, verdicts, grades) -> None:
    torch.set_num_threads(1)
    ranks = join_cpu_group(rank, count, Path(folder))
    frozen = FrozenMatrix.slice_of(passages().numpy(), ranks)
    labels = corpus_labels(verdicts, grades)
    computed = {}
    for share, form, similarity in product(SHARES, FORMS, SIMILARITIES):
        loss = ExactSoftmax(0.05, form, 0.1, tile_size=4, similarity=similarity)
        queries = unit_rows(N_QUERIES, 8, 1)[shares(share, count)[rank]]
        if len(queries):
            computed[share, form, similarity] = value_and_gradient(
                lambda q, loss=loss: loss(q, labels, frozen), queries
            )
        else:  # an empty batch comes out of no encoder, and has no graph
            computed[share, form, similarity] = (
                loss(queries, labels, frozen).detach().double(),
                queries.double(),
            )
    torch.save(computed, f"{folder}/{rank}.pt")
    leave(0)


@pytest.fixture(scope="module", params=[2, 3, 4], ids=lambda count: f"{count} ranks")
def computed_on_ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    count = request.param
    rng = np.random.default_rng(5)
    shape = (N_QUERIES, N_PASSAGES)
    verdicts = rng.choice([0, 0, 0, 1, 2], size=shape).astype(np.int8)
    verdicts[2, :15] = 2  # all of the first slice is masked for one query
    verdicts[4] = 2
    grades = rng.integers(1, 4, size=shape).astype(np.float32)
    folder: Path = tmp_path_factory.mktemp("ranks")
    start_ranks(on_a_rank, count, count, str(folder), verdicts, grades)
    return verdicts, grades, [torch.load(folder / f"{rank}.pt") for rank in range(count)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_ranks_give_the_losses_and_gradients_of_one(computed_on_ranks, share, form, similarity):
    verdicts, grades, computed = computed_on_ranks
    loss, labels, frozen = (
        ExactSoftmax(0.05, form, 0.1, similarity=similarity),
        corpus_labels(verdicts, grades),
        FrozenMatrix.whole(passages()),
    )
    queries = unit_rows(N_QUERIES, 8, 1).requires_grad_()
    losses = loss(queries, labels, frozen)
    for rank, own in enumerate(shares(share, len(computed))):
        weights = torch.linspace(0.5, 1.5, own.stop - own.start)
        (gradient,) = torch.autograd.grad((losses[own] * weights).sum(), queries, retain_graph=True)
        theirs, their_gradient = computed[rank][share, form, similarity]
        torch.testing.assert_close(theirs, losses[own].detach().double(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(their_gradient, gradient[own].double(), rtol=1e-5, atol=2e-5)
