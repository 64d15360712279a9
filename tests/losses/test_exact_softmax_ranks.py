"""The exact softmax on 1 to 4 ranks, for queries and for passages, against the dense reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from accelerate import PartialState
from torch import Tensor

from helpers.dense_reference import (
    corpus_labels,
    dense_losses,
    rows_of_lengths,
    training_labels,
    unit_rows,
    value_and_gradient,
)
from helpers.ranks import join_cpu_group, start_ranks
from recipekit.component import Ranks, SingleProcess
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.pipeline.worker import leave
from recipekit.records import Verdict

pytestmark = pytest.mark.slow
COUNTS = (1, 2, 3, 4)
SHARES = ("even", "uneven", "all on one")
BLOCKS = 3
FORMS = ("one_vs_negatives", "soft_label", "log_marginal")
SIMILARITIES = ("dot", "euclidean")
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
"""The weights of positives are float32, and gradients are up to 1 / 0.05."""


@dataclass(frozen=True)
class Case:
    """A loss with its data, in float64."""

    options: dict[str, Any]
    tile_size: int
    verdicts: npt.NDArray[np.int8]
    grades: npt.NDArray[np.float32]
    queries: Tensor
    passages: Tensor
    blocks: list[tuple[npt.NDArray[np.int64], Tensor]]
    """Rows that are embedded again, one block after another, with their new embeddings."""

    @property
    def loss(self) -> ExactSoftmax:
        return ExactSoftmax(tile_size=self.tile_size, **self.options)

    def frozen(self, side: Tensor, ranks: Ranks) -> FrozenMatrix:
        """This rank's slice, in memory of its own."""
        one = FrozenMatrix.slice_of(side.numpy(), ranks)
        return FrozenMatrix(one.matrix.clone(), one.start, one.total, ranks)

    def dense(self, queries: Tensor, passages: Tensor) -> Tensor:
        return dense_losses(queries, passages, self.verdicts, self.grades, **self.options)


def cases() -> list[Case]:
    """Every form and similarity twice, with varied shapes, tiles, blocks and smoothing."""
    rng = np.random.default_rng(5)
    made = []
    for number, (form, similarity, _) in enumerate(product(FORMS, SIMILARITIES, range(2))):
        # With fewer queries or passages than ranks, some ranks hold none.
        n, total, dim = rng.integers([1, 2, 2], [10, 40, 9]).tolist()
        n, total = [(n, total), (3, 30), (6, 3)][number % 3]
        verdicts = rng.choice([0, 0, 0, 1, 2], size=(n, total)).astype(np.int8)
        verdicts[0, : total // 2] = Verdict.IGNORE  # the first slice of two is masked
        if n > 3:
            verdicts[1] = Verdict.IGNORE
            verdicts[2][verdicts[2] == Verdict.POSITIVE] = Verdict.NEGATIVE
            verdicts[3][verdicts[3] == Verdict.NEGATIVE] = Verdict.POSITIVE
        rows = np.array_split(rng.permutation(total)[: rng.integers(1, total + 1)], BLOCKS)
        made.append(
            Case(
                {
                    "temperature": (0.05, 0.3, 1.0)[number % 3],
                    "form": form,
                    "similarity": similarity,
                    "label_smoothing": (0.0, 0.01, 0.3)[(number // 2) % 3],
                },
                int(rng.integers(1, 12)),
                verdicts,
                rng.integers(1, 4, size=verdicts.shape).astype(np.float32),
                vectors(n, dim, number),
                vectors(total, dim, 100 + number),
                [
                    (block, vectors(len(block), dim, 200 + number * BLOCKS + turn))
                    for turn, block in enumerate(rows)
                    if len(block)
                ],
            )
        )
    return made


def vectors(count: int, dim: int, seed: int) -> Tensor:
    return rows_of_lengths(unit_rows(count, dim, seed, torch.float64), seed)


def shares(kind: str, n: int, count: int) -> list[slice]:
    """The queries of each rank."""
    ends = {
        "even": [n * rank // count for rank in range(count + 1)],
        "uneven": [*(min(rank, n) for rank in range(count)), n],
        "all on one": [0, *[n] * count],
    }[kind]
    return [slice(*pair) for pair in pairwise(ends)]


def query_half(case: Case, share: str, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """The losses of this rank's queries, and the gradient of their weighted sum."""
    frozen, labels = (
        case.frozen(case.passages, ranks),
        corpus_labels(case.verdicts, case.grades),
    )
    queries = case.queries[shares(share, len(case.queries), ranks.count)[ranks.rank]]
    if len(queries):
        return value_and_gradient(lambda q: case.loss(q, labels, frozen), queries)
    # An empty batch comes out of no encoder, and has no graph.
    return case.loss(queries, labels, frozen).detach(), queries


def passage_half(case: Case, ranks: Ranks) -> Iterator[tuple[Tensor, Tensor]]:
    """Mean loss and gradient of each block, and this rank's passages after the last one."""
    queries, passages = (case.frozen(side, ranks) for side in (case.queries, case.passages))
    half = case.loss.over_passages(queries, passages, training_labels(case.verdicts, case.grades))
    half.compute()
    for rows, fresh in case.blocks:
        part, gradient = half.block(rows, fresh, update=True)
        yield ranks.sum(part.clone()), gradient
    yield torch.tensor(half.passages.start), half.passages.matrix


def compute(ranks: Ranks) -> list[Any]:
    """Both halves of every case on this rank."""
    return [
        ([query_half(case, share, ranks) for share in SHARES], list(passage_half(case, ranks)))
        for case in cases()
    ]


def on_a_rank(rank: int, folder: Path) -> None:
    """Join groups of 4, 3 and 2 ranks, one after another."""
    torch.set_num_threads(1)
    for count in COUNTS[:0:-1]:
        if rank < count:
            meeting = folder / str(count)
            meeting.mkdir(exist_ok=True)
            ranks = join_cpu_group(rank, count, meeting)
            torch.save(compute(ranks), meeting / f"{rank}.pt")
            ranks.barrier()
            torch.distributed.destroy_process_group()
            PartialState._reset_state()
    leave(0)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[list[Any]]]:
    """For each number of ranks, what each rank computes."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    start_ranks(on_a_rank, COUNTS[-1], folder)
    on_ranks = {
        count: [torch.load(folder / str(count) / f"{rank}.pt") for rank in range(count)]
        for count in COUNTS[1:]
    }
    return {1: [compute(SingleProcess())], **on_ranks}


@pytest.mark.parametrize("count", COUNTS)
def test_ranks_give_the_dense_losses_and_gradients_of_queries(computed, count):
    for number, case in enumerate(cases()):
        queries = case.queries.clone().requires_grad_()
        losses = case.dense(queries, case.passages)
        for rank, own in product(range(count), range(len(SHARES))):
            share = shares(SHARES[own], len(queries), count)[rank]
            weights = torch.linspace(0.5, 1.5, share.stop - share.start)
            weighted = (losses[share] * weights).sum()
            (gradient,) = torch.autograd.grad(weighted, queries, retain_graph=True)
            theirs, their_gradient = computed[count][rank][number][0][own]
            torch.testing.assert_close(theirs, losses[share].detach(), **TOLERANCE)
            torch.testing.assert_close(their_gradient, gradient[share], **TOLERANCE)


@pytest.mark.parametrize("count", COUNTS)
def test_ranks_give_the_dense_losses_and_gradients_of_blocks_of_passages(computed, count):
    for number, case in enumerate(cases()):
        passages, expected = case.passages.clone(), []
        for rows, fresh in case.blocks:
            passages[torch.from_numpy(rows)] = fresh
            matrix = passages.clone().requires_grad_()
            mean = case.dense(case.queries, matrix).mean()
            expected.append((mean.detach(), torch.autograd.grad(mean, matrix)[0][rows]))
        for rank in range(count):
            *blocks, (start, own) = computed[count][rank][number][1]
            for theirs, ours in zip(blocks, expected, strict=True):
                torch.testing.assert_close(theirs, ours, **TOLERANCE)
            assert torch.equal(own, passages[int(start) :][: len(own)])
