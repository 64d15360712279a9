"""The passage half of the exact softmax, sliced over ranks, gives what one process gives."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.dense_reference import training_labels, unit_rows
from helpers.ranks import join_cpu_group, start_ranks
from recipekit.component import Ranks, SingleProcess
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.pipeline.worker import leave

pytestmark = pytest.mark.slow
FORMS = ("one_vs_negatives", "soft_label", "log_marginal")
VARIANTS = [*product(FORMS, ("dot", "euclidean"))]


def blocks_on(ranks: Ranks, verdicts, grades) -> dict[tuple[str, str], list[torch.Tensor]]:
    """Loss and gradient of three blocks, for every form and similarity."""
    n, total = verdicts.shape
    computed = {}
    for form, similarity in VARIANTS:
        queries = FrozenMatrix.slice_of(unit_rows(n, 8, 1).numpy(), ranks)
        passages = FrozenMatrix.slice_of((1.5 * unit_rows(total, 8, 2)).numpy(), ranks)
        passages = FrozenMatrix(passages.matrix.clone(), passages.start, total, ranks)
        loss = ExactSoftmax(0.02, form, 0.1, tile_size=3, similarity=similarity)
        half = loss.over_passages(queries, passages, training_labels(verdicts, grades))
        half.compute()
        parts = computed[form, similarity] = []
        for turn, rows in enumerate(np.array_split(np.random.default_rng(3).permutation(total), 3)):
            mean, gradient = half.block(rows, unit_rows(len(rows), 8, 5 + turn), update=True)
            parts += [ranks.sum(mean.clone()), gradient]
    return computed


def on_a_rank(rank: int, count: int, folder: str, verdicts, grades) -> None:
    torch.set_num_threads(1)
    ranks = join_cpu_group(rank, count, Path(folder))
    torch.save(blocks_on(ranks, verdicts, grades), f"{folder}/{rank}.pt")
    leave(0)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_ranks_give_the_losses_and_gradients_of_one(tmp_path: Path, count: int):
    rng = np.random.default_rng(5)
    # With 3 queries, one of 4 ranks has none.
    verdicts = rng.choice([0, 0, 0, 1, 2], size=(3, 30)).astype(np.int8)
    verdicts[:, 0] = 1
    grades = rng.integers(1, 4, size=verdicts.shape).astype(np.float32)
    start_ranks(on_a_rank, count, count, str(tmp_path), verdicts, grades)
    one = blocks_on(SingleProcess(), verdicts, grades)
    for rank in range(count):
        computed = torch.load(tmp_path / f"{rank}.pt")
        for variant in VARIANTS:
            for ours, theirs in zip(one[variant], computed[variant], strict=True):
                torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
