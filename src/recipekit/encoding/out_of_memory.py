"""Recognizes and reports that a device or host has no memory left, and frees what can be freed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recipekit.errors import RunError

__all__ = ["available_memory", "free_memory", "is_out_of_memory", "needs_memory"]


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
