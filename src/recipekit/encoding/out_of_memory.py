"""Recognizes and reports that a device or host has no memory left, and frees what can be freed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from recipekit.arrays import Rows
from recipekit.component import Progress
from recipekit.errors import RunError

__all__ = [
    "BatchParts",
    "available_memory",
    "free_memory",
    "is_out_of_memory",
    "needs_memory",
    "repeat_until_it_fits",
]

T = TypeVar("T")

MESSAGES = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Parts of the messages of CUDA, NCCL and MPS, of the host's allocator, and of cuBLAS."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device or the host could not allocate memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in MESSAGES)
    )


def free_memory() -> None:
    """Return memory that nothing uses to the device; call it when the error is handled."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def available_memory(device: torch.device | str) -> int | None:
    """Return the free bytes of a GPU; None for other devices, which do not report them."""
    if torch.device(device).type != "cuda":
        return None
    free_memory()
    return int(torch.cuda.mem_get_info(device)[0])


def repeat_until_it_fits(attempt: Callable[[], T], make_smaller: Callable[[], None]) -> T:
    """Return the result of an attempt, which is repeated as long as it runs out of memory.

    Args:
        attempt: Computes the result.
        make_smaller: Makes the next attempt need less memory, or raises if it cannot.
    """
    while True:
        try:
            return attempt()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside of `except`, whose error keeps the tensors of the failed attempt.
        free_memory()
        make_smaller()


@dataclass
class BatchParts:
    """Into how many equal parts batches are divided, since whole ones did not fit into memory."""

    action: str
    """What is done with batches, for messages: `encoding passage texts`."""
    item: str
    """What the smallest part has, for messages: `one of the passage texts`."""
    model: str
    """What computes, for messages: `encoder`."""
    progress: Progress | None
    """Where a lack of memory is reported."""
    count: int = 1

    def of(self, rows: Rows) -> list[Rows]:
        """Divide a batch, as far as it has rows; at least one part."""
        return np.array_split(rows, min(self.count, max(1, len(rows))))

    def double(self, rows: Rows) -> None:
        """Divide further batches into twice as many parts, after this one did not fit.

        Raises:
            RunError: Each of its parts had one row.
        """
        if self.count >= len(rows):
            raise RunError(
                f"out of memory with {self.item} in a forward pass: set a shorter max_length for "
                f"the {self.model}",
                code="RK634",
            )
        self.count *= 2
        self.warn(f"each batch is divided into {self.count} parts")

    def warn(self, division: str) -> None:
        """Report how batches are divided."""
        if self.progress is not None:
            self.progress.warn(
                f"out of memory while {self.action}: {division}, with the same result. A lower "
                f"max_tokens_per_batch of the {self.model} avoids the failed attempts"
            )


@contextmanager
def needs_memory(message: str) -> Iterator[None]:
    """Report in one line that what happens inside did not fit into memory.

    Args:
        message: What did not fit, and what needs less.

    Raises:
        RunError: It did not.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"out of memory: {message}", code="RK634") from error
