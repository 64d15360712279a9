"""The class of device that a run computes on."""

from __future__ import annotations

from recipekit.pipeline.accelerators import find_accelerators

__all__ = ["device_class"]


def device_class(*, cpu: bool = False) -> str:
    """Return `cpu`, `cuda`, `mps` or another type of torch's.

    Args:
        cpu: Whether accelerators are left out, as by `--cpu`.
    """
    return "cpu" if cpu else find_accelerators().type
