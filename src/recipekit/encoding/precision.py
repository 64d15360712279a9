"""The arithmetic that a device uses for a recipe's `precision: bf16`."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Final, Literal

import torch

__all__ = [
    "autocast",
    "computes_in_bf16",
    "model_of_device",
    "name_device",
    "name_precision",
    "recorded_precisions",
]

_RECORDS: Final[list[dict[str, None]]] = []
"""The precisions of forward passes, of every `recorded_precisions` that is open."""


def computes_in_bf16(precision: Literal["bf16", "fp32"], device: torch.device | str) -> bool:
    """Return whether a recipe's precision is bfloat16 and the device has instructions for it.

    A device that emulates bfloat16 takes longer than for float32: 50 times as long for matrix
    products on an AVX2 processor. There bf16 is computed in float32, which rounds less, and results
    differ by bf16's own rounding.
    """
    return precision == "bf16" and _has_bf16(torch.device(device))


def autocast(
    precision: Literal["bf16", "fp32"], device: torch.device, *, cache_enabled: bool = True
) -> AbstractContextManager[Any]:
    """Compute forward passes in a recipe's precision, which `recorded_precisions` records.

    Args:
        precision: The recipe's precision.
        device: The device of the weights.
        cache_enabled: Whether rounded weights are kept until the context ends.
    """
    for record in _RECORDS:
        record[name_precision(precision, device)] = None
    bf16 = computes_in_bf16(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=cache_enabled)


@contextmanager
def recorded_precisions() -> Iterator[Iterable[str]]:
    """Record the precisions of this process's forward passes, named by `name_precision`."""
    record: dict[str, None] = {}
    _RECORDS.append(record)
    try:
        yield record
    finally:
        _RECORDS.remove(record)


def name_device(device: torch.device | str, precisions: Iterable[str]) -> str:
    """Describe a device and what it computed in: "NVIDIA H200, bf16", "CPU, bf16 in fp32".

    Args:
        device: The device.
        precisions: From `recorded_precisions`; empty if there were no forward passes.
    """
    return ", ".join([model_of_device(device), *precisions])


def model_of_device(device: torch.device | str) -> str:
    """Return what a device is: `NVIDIA H200`, `CPU`."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def name_precision(precision: Literal["bf16", "fp32"], device: torch.device | str) -> str:
    """Describe a recipe's precision on a device: `fp32`, `bf16`, or `bf16 in fp32`."""
    if precision == "bf16" and not computes_in_bf16(precision, device):
        return "bf16 in fp32"
    return precision


@cache
def _has_bf16(device: torch.device) -> bool:
    if device.type == "cpu":
        return _cpu_has_bf16()
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return True


def _cpu_has_bf16() -> bool:
    """Return whether oneDNN, torch's CPU backend, has bfloat16 instructions on this CPU.

    On x86 it also reports support with plain AVX-512, on which it emulates them.
    """
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # type: ignore[no-untyped-call]
        return False
    return platform.machine().lower() not in ("x86_64", "amd64") or bool(
        torch.cpu._is_avx512_bf16_supported()
    )
