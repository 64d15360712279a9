"""Recognizes errors of a device or host that has no memory left, and frees what can be freed."""

from __future__ import annotations

import gc

import torch

__all__ = ["free_memory", "is_out_of_memory"]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device or the host could not allocate memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
    )


def free_memory() -> None:
    """Return memory that nothing uses to the device; call it when the error is handled."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
