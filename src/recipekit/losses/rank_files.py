"""Tensors whose rows lie on several ranks: each writes its own rows, and any number reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from recipekit.component import Ranks

__all__ = ["read_rows", "write_rows"]


def write_rows(folder: Path, ranks: Ranks, tensors: Mapping[str, Tensor]) -> None:
    """Write this rank's rows of some tensors into a folder.

    Raises:
        OSError: They cannot be written.
    """
    content = save({name: rows.cpu().contiguous() for name, rows in tensors.items()})
    # safetensors' own writer hides the OSError of a full disk.
    (folder / f"rank-{ranks.rank:06d}.safetensors").write_bytes(content)


def read_rows(folder: Path, name: str, start: int, stop: int) -> Tensor:
    """Read rows [start, stop) of a tensor that all ranks have written with `write_rows`."""
    parts: list[Tensor] = []
    first = 0
    for file in sorted(folder.glob("rank-*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            rows = tensors.get_slice(name)
            count = rows.get_shape()[0]
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high or (start == stop and not parts):
                parts.append(rows[low : max(low, high)])
        first += count
    return torch.cat(parts)
