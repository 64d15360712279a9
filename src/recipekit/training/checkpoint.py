"""Checkpoints: the whole state of training in one folder, without pickle, complete or absent.

```
checkpoint-00000120/
├── tensors/      safetensors, each rank's share of them:
│                 weights/PARAMETER            the encoder's parameters after step 120
│                 kept/PARAMETER               those that dev chose, if there was an evaluation
│                 recent-0/PARAMETER           those at the last evaluations, if they are averaged
│                 optimizer/PARAMETER/exp_avg  AdamW's state, and so on
├── phase/        what the phase itself saves, such as a matrix that it updates
└── state.json    the loop's state: the step, the curve, the phase's own state
```

`torch.distributed.checkpoint` writes and reads the tensors, so that a run can continue on another
number of ranks, with whole or with sharded weights. There is no random state to save: every draw,
dropout included, is seeded by its position in training.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipekit.artifacts.store import flush, write_json
from recipekit.component import Ranks, Weights

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

    What a killed run left of another checkpoint is removed.

    Args:
        folder: The folder of all checkpoints.
        step: The step.
        is_main: Whether this rank creates the folder; the others wait for it.
    """
    unfinished = _unfinished(folder, step)
    if is_main:
        for path in folder.glob("*.unfinished"):
            shutil.rmtree(path, ignore_errors=True)
        (unfinished / "phase").mkdir(parents=True)
    return unfinished / "phase"


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint, ranks: Ranks) -> None:
    """Write the rest of a checkpoint that `start_checkpoint` started, and delete earlier ones.

    All ranks call this together, when all have written the phase's part. No rank returns before
    the checkpoint is complete, so that each may delete files that only earlier ones need.
    """
    unfinished = _unfinished(folder, step)
    _save_tensors(unfinished / "tensors", _named(checkpoint))
    if ranks.is_main:
        write_json(unfinished / "state.json", checkpoint.state)
        _complete(folder, step)
    ranks.barrier()


def load_checkpoint(folder: Path, ranks: Ranks) -> Checkpoint | None:
    """Read the latest complete checkpoint, or None; all ranks call this together."""
    # The main rank looks for all: a file does not appear on all machines at the same time.
    path = ranks.broadcast(next(reversed(_finished(folder)), None))
    if path is None:
        return None
    groups: dict[str, Weights] = {}
    for name, tensor in _load_tensors(path / "tensors", ranks).items():
        group, _, parameter = name.partition("/")
        groups.setdefault(group, {})[parameter] = tensor
    recent = [name for name in groups if name.startswith("recent-")]
    return Checkpoint(
        weights=groups["weights"],
        kept=groups.get("kept"),
        optimizer=groups.get("optimizer", {}),
        state=json.loads((path / "state.json").read_text()),
        phase_folder=path / "phase",
        recent=[groups[f"recent-{number}"] for number in range(len(recent))],
    )


# Tensors
# -------------------------------------------------------------------------------------------------


def _named(checkpoint: Checkpoint) -> Weights:
    groups = {"weights": checkpoint.weights, "optimizer": checkpoint.optimizer}
    if checkpoint.kept is not None:
        groups["kept"] = checkpoint.kept
    groups |= {f"recent-{number}": one for number, one in enumerate(checkpoint.recent)}
    return {
        f"{group}/{name}": tensor
        for group, named in groups.items()
        for name, tensor in named.items()
    }


def _save_tensors(folder: Path, tensors: Weights) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with _reported_as_os_errors():
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def _load_tensors(folder: Path, ranks: Ranks) -> Weights:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    tensors = {
        name: ranks.empty(stored[name].size, stored[name].properties.dtype)  # type: ignore[union-attr]
        for name in sorted(stored)
    }
    with _reported_as_os_errors():
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    return tensors


@contextmanager
def _reported_as_os_errors() -> Iterator[None]:
    """Raise the first error of any rank, such as that of a full disk, instead of a list of them."""
    from torch.distributed.checkpoint.api import CheckpointException

    with warnings.catch_warnings():
        # One process needs no group.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        try:
            yield
        except CheckpointException as error:
            first, _ = next(iter(error.failures.values()))
            raise first from error


# Folders
# -------------------------------------------------------------------------------------------------


def _complete(folder: Path, step: int) -> None:
    """Make a checkpoint the latest one, once all of its files are on the disk."""
    unfinished, final = _unfinished(folder, step), folder / f"checkpoint-{step:08d}"
    for path in (*unfinished.rglob("*"), unfinished):
        flush(path)
    earlier = [path for path in _finished(folder) if path != final]
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    flush(folder)  # a power cut must not lose the name of this one and keep the end of the others
    for path in earlier:
        shutil.rmtree(path, ignore_errors=True)


def _unfinished(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step:08d}.unfinished"


def _finished(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    )
