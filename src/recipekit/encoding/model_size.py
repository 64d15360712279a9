"""How large a model is."""

from __future__ import annotations

import torch

__all__ = ["count_parameters"]


def count_parameters(module: torch.nn.Module, *, trainable_only: bool = False) -> int:
    """Return the number of a model's parameters, all of them or those that are trained."""
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if parameter.requires_grad or not trainable_only
    )
