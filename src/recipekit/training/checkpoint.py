"""Checkpoints: the whole state of training in one folder, without pickle, there entirely or not at
all.

```
checkpoint-00000120/
├── weights.safetensors     the encoder's parameters after step 120
├── best.safetensors        those with the best dev value so far, where there was one
├── optimizer.safetensors   AdamW's moments, `NAME/exp_avg` and so on
└── state.json              where training stands: the step, the curve, the best
```

There is no random state to save: every draw, dropout included, is seeded by the place in training
where it happens.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from recipekit.artifacts.store import write_json

__all__ = [
    "Weights",
    "copy_weights",
    "load_checkpoint",
    "restore_optimizer",
    "save_checkpoint",
    "set_weights",
]

Weights = dict[str, torch.Tensor]


def named_weights(module: torch.nn.Module) -> Weights:
    """A module's parameters by name, each shared one once; views, not copies."""
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def copy_weights(module: torch.nn.Module) -> Weights:
    """A copy of a module's parameters in the host's memory."""
    return {
        name: weight.to("cpu", copy=True).contiguous()
        for name, weight in named_weights(module).items()
    }


def set_weights(module: torch.nn.Module, weights: Weights) -> None:
    """Overwrite a module's parameters."""
    for name, weight in named_weights(module).items():
        weight.copy_(weights[name])


@dataclass(frozen=True)
class Checkpoint:
    """What was read back."""

    weights: Weights
    best: Weights | None
    moments: Weights
    state: Mapping[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Weights | None,
    state: Mapping[str, Any],
) -> None:
    """Write the checkpoint of a step (on one rank only: all hold the same state) and delete those
    before it.
    """
    final = folder / f"checkpoint-{step:08d}"
    unfinished = final.with_name(f"{final.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write(unfinished / "weights.safetensors", copy_weights(module))
    if best is not None:
        _write(unfinished / "best.safetensors", best)
    _write(unfinished / "optimizer.safetensors", _moments(module, optimizer))
    write_json(unfinished / "state.json", state)
    for file in unfinished.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    older = [path for path in _finished(folder) if path != final]
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    for path in older:
        shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest whole checkpoint, or None."""
    finished = _finished(folder)
    if not finished:
        return None
    path = finished[-1]
    best = path / "best.safetensors"
    return Checkpoint(
        weights=load_file(path / "weights.safetensors"),
        best=load_file(best) if best.is_file() else None,
        moments=load_file(path / "optimizer.safetensors"),
        state=json.loads((path / "state.json").read_text()),
    )


def restore_optimizer(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer, moments: Weights
) -> None:
    """Give AdamW its moments back, by the names of the parameters that they belong to."""
    parameters = dict(module.named_parameters())
    for key, value in moments.items():
        name, _, moment = key.rpartition("/")
        parameter = parameters[name]
        optimizer.state[parameter][moment] = value.to(
            parameter.device
        )  # where fused AdamW keeps its count of steps, too


def _write(path: Path, tensors: Weights) -> None:
    path.write_bytes(save(tensors))  # safetensors' own writer hides the OSError of a full disk


def _moments(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
    return {
        f"{name}/{moment}": value.detach().to("cpu", copy=True).contiguous()
        for name, parameter in module.named_parameters()
        for moment, value in optimizer.state.get(parameter, {}).items()
    }


def _finished(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    )
