"""Ranks fill an array on disk block by block."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from helpers.ranks import FakeRanks
from recipekit.component import Ranks, SingleProcess
from recipekit.encoding.block_files import BlockFile

EXPECTED = np.arange(14, dtype=np.float32).reshape(7, 2)


def matrix(folder: Path) -> BlockFile:
    """Seven rows in three blocks, whose rows lie all over the array."""
    blocks = [np.array([6, 0, 3]), np.array([1, 5]), slice(2, 5, 2)]
    return BlockFile(
        folder / "matrix",
        EXPECTED.shape,
        EXPECTED.dtype,
        blocks=blocks,
        marks=folder / "scratch" / "done",
    )


def values(file: BlockFile, block: int | None) -> np.ndarray:
    return np.empty((0, 2), np.float32) if block is None else EXPECTED[file.blocks[block]]


def written(file: BlockFile) -> np.ndarray:
    return np.fromfile(file.path, np.float32).reshape(EXPECTED.shape)


def test_a_second_attempt_fills_the_blocks_that_are_left(tmp_path: Path) -> None:
    ranks: Ranks = SingleProcess()
    file = matrix(tmp_path)
    assert file.open(ranks) == [[0, 1, 2]]
    file.write([1], values(file, 1), ranks)
    again = matrix(tmp_path)
    assert again.open(ranks) == [[0, 2]]
    for block in (0, 2):
        again.write([block], values(again, block), ranks)
    np.testing.assert_array_equal(written(again), EXPECTED)
    assert again.open(ranks) == [[]]


def test_an_array_that_is_lost_is_filled_again(tmp_path: Path) -> None:
    ranks: Ranks = SingleProcess()
    file = matrix(tmp_path)
    file.open(ranks)
    file.write([0], values(file, 0), ranks)
    file.path.unlink()
    assert file.open(ranks) == [[0, 1, 2]]


def test_each_rank_of_one_machine_writes_its_own_blocks(tmp_path: Path) -> None:
    file = matrix(tmp_path)
    ranks = [FakeRanks(rank=rank, count=2) for rank in range(2)]
    left = [file.open(rank) for rank in ranks]
    assert left == [[[0, 2], [1]]] * 2
    for turn in zip_longest(*left[0]):
        for rank in ranks:
            file.write(turn, values(file, turn[rank.rank]), rank)
    np.testing.assert_array_equal(written(file), EXPECTED)


@dataclass(frozen=True)
class TwoMachines(FakeRanks):
    """The main rank of two machines, which gathers what the other one computes, too."""

    other: torch.Tensor | None = None

    @property
    def machines(self) -> int:
        return 2

    def gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        assert self.other is not None
        return [rows, self.other]


def test_the_main_rank_of_two_machines_writes_all_blocks(tmp_path: Path) -> None:
    file = matrix(tmp_path)
    for turn in zip_longest(*file.open(TwoMachines(count=2))):
        other = torch.from_numpy(values(file, turn[1]))
        file.write(turn, values(file, turn[0]), TwoMachines(count=2, other=other))
    np.testing.assert_array_equal(written(file), EXPECTED)
    assert file.open(TwoMachines(count=2)) == [[], []]
