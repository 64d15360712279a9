"""Checkpoints: the whole state of training in one folder, without pickle, complete or absent.

```
checkpoint-00000120/
├── weights.safetensors     the encoder's parameters after step 120
├── kept.safetensors        those that dev chose so far, if there was an evaluation
├── recent-0.safetensors    those at the last evaluations, if they are averaged
├── optimizer.safetensors   AdamW's state, `PARAMETER/exp_avg` and so on
├── phase/                  what the phase itself saves, such as a matrix that it updates
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from recipekit.artifacts.store import write_json
from recipekit.component import Weights

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "start_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint."""

    weights: Weights
    kept: Weights | None
    optimizer: Weights
    state: Mapping[str, Any]
    phase_folder: Path | None = None
    """Where the phase saved its part, once read back."""
    recent: list[Weights] = field(default_factory=list)
    """The weights at the last evaluations, oldest first."""


def start_checkpoint(folder: Path, step: int, *, is_main: bool) -> Path:
    """Return the folder in which the phase saves its part of a step's checkpoint.

    Args:
        folder: The folder of all checkpoints.
        step: The step.
        is_main: Whether this rank creates the folder; the others wait for it.
    """
    unfinished = _unfinished(folder, step)
    if is_main:
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "phase").mkdir(parents=True)
    return unfinished / "phase"


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write the rest of a checkpoint that `start_checkpoint` started, and delete earlier ones.

    Only one rank calls this, when all ranks have written the phase's part.
    """
    unfinished = _unfinished(folder, step)
    unfinished.mkdir(parents=True, exist_ok=True)
    final = folder / f"checkpoint-{step:08d}"
    _write(unfinished / "weights.safetensors", checkpoint.weights)
    if checkpoint.kept is not None:
        _write(unfinished / "kept.safetensors", checkpoint.kept)
    for number, weights in enumerate(checkpoint.recent):
        _write(unfinished / f"recent-{number}.safetensors", weights)
    _write(unfinished / "optimizer.safetensors", checkpoint.optimizer)
    write_json(unfinished / "state.json", checkpoint.state)
    for file in unfinished.rglob("*"):
        if file.is_file():
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
    kept = path / "kept.safetensors"
    recent = sorted(path.glob("recent-*.safetensors"), key=lambda file: int(file.stem[7:]))
    return Checkpoint(
        weights=load_file(path / "weights.safetensors"),
        kept=load_file(kept) if kept.is_file() else None,
        optimizer=load_file(path / "optimizer.safetensors"),
        state=json.loads((path / "state.json").read_text()),
        phase_folder=path / "phase",
        recent=[load_file(file) for file in recent],
    )


def _unfinished(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step:08d}.unfinished"


def _write(path: Path, tensors: Weights) -> None:
    # safetensors' own writer hides the OSError of a full disk.
    path.write_bytes(save(tensors))


def _finished(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    )
