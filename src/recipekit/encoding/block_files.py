"""An array on disk that ranks fill together, block by block, and continue after a kill.

Rank r of R fills every R-th block, and a block is marked as done once its rows are on disk. All
ranks take turns together, a block each; in the last turns, some have none. With several machines,
the main rank writes what all ranks have computed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Rows
from recipekit.component import Ranks

__all__ = ["BlockFile", "create_file"]


@dataclass(frozen=True)
class BlockFile:
    """A raw array on disk, whose rows are divided into blocks."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Sequence[Rows | slice]
    """The rows of each block."""
    marks: Path
    """A file with a byte for each block: whether it is done."""

    def open(self, ranks: Ranks) -> list[list[int]]:
        """Create the files, unless they exist; all ranks call this together.

        Returns:
            The blocks that are not done, a list for each rank. `zip_longest` makes turns of them.
        """
        if ranks.is_main:
            self.marks.parent.mkdir(parents=True, exist_ok=True)
            if create_file(self.path, math.prod(self.shape) * self.dtype.itemsize):
                self.marks.unlink(missing_ok=True)
            create_file(self.marks, len(self.blocks))
        ranks.barrier()
        done: npt.NDArray[np.uint8] | None = None
        if ranks.is_main or ranks.machines == 1:
            done = np.fromfile(self.marks, np.uint8)
        if ranks.machines > 1:
            done = ranks.broadcast(done)
        assert done is not None, "it was read or received"
        ranks.barrier()  # a rank marks its first block only after all ranks have read the marks
        return [
            [block for block in range(rank, len(done), ranks.count) if not done[block]]
            for rank in range(ranks.count)
        ]

    def write(self, turn: Sequence[int | None], values: npt.NDArray[Any], ranks: Ranks) -> None:
        """Write the blocks of a turn; all ranks call this together.

        Args:
            turn: Each rank's block, or None.
            values: The values of this rank's block, (rows of the block, ...).
            ranks: The ranks.
        """
        if ranks.machines == 1:
            self._write(turn[ranks.rank], values)
            return
        parts = ranks.gather(torch.from_numpy(values).to(ranks.device))
        if ranks.is_main:
            for block, part in zip(turn, parts, strict=True):
                self._write(block, part.cpu().numpy())

    def _write(self, block: int | None, values: npt.NDArray[Any]) -> None:
        """Write a block's rows to the disk, and then mark it as done."""
        if block is None:
            return
        # The file is mapped again for each block: rows may lie all over it, and the pages of a
        # mapping that stays open count as memory.
        on_disk = np.memmap(self.path, self.dtype, "r+", shape=self.shape)
        on_disk[self.blocks[block]] = values
        on_disk.flush()
        marks = np.memmap(self.marks, np.uint8, "r+")
        marks[block] = 1
        marks.flush()


def create_file(path: Path, size: int) -> bool:
    """Create a file of zeros, unless a file of this size exists; return whether it was created."""
    if path.is_file() and path.stat().st_size == size:
        return False
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            # A full disk is an OSError here; later, under a memory map, it would kill the process.
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)
    temporary.replace(path)
    return True
