"""Checkpoints: the whole state of training in one folder, without pickle, complete or absent.

```
checkpoint-00000120/
├── weights.safetensors     the encoder's parameters after step 120
├── best.safetensors        those with the best dev value so far, if there was an evaluation
├── optimizer.safetensors   AdamW's state, `PARAMETER/exp_avg` and so on
└── state.json              the loop's state: the step, the curve, the phase's own state
```

There is no random state to save: every draw, dropout included, is seeded by its position in
training.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from recipekit.artifacts.store import write_json
from recipekit.component import Weights

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint."""

    weights: Weights
    best: Weights | None
    optimizer: Weights
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a step, and delete earlier ones.

    Only one rank calls this.
    """
    final = folder / f"checkpoint-{step:08d}"
    unfinished = final.with_name(f"{final.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _write(unfinished / "weights.safetensors", checkpoint.weights)
    if checkpoint.best is not None:
        _write(unfinished / "best.safetensors", checkpoint.best)
    _write(unfinished / "optimizer.safetensors", checkpoint.optimizer)
    write_json(unfinished / "state.json", checkpoint.state)
    for file in unfinished.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    earlier = [path for path in _finished(folder) if path != final]
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    for path in earlier:
        shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the latest complete checkpoint, or None."""
    finished = _finished(folder)
    if not finished:
        return None
    path = finished[-1]
    best = path / "best.safetensors"
    return Checkpoint(
        weights=load_file(path / "weights.safetensors"),
        best=load_file(best) if best.is_file() else None,
        optimizer=load_file(path / "optimizer.safetensors"),
        state=json.loads((path / "state.json").read_text()),
    )


def _write(path: Path, tensors: Weights) -> None:
    # safetensors' own writer hides the OSError of a full disk.
    path.write_bytes(save(tensors))


def _finished(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    )
