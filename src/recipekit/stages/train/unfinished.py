"""What an interrupted train stage keeps. Imports no torch, since `plan` and `cache ls` call it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

__all__ = ["unfinished"]


def unfinished(folder: Path) -> Iterator[str]:
    """Yield the step of the last complete checkpoint in a partial artifact, if there is one."""
    checkpoints = (folder / "scratch" / "checkpoints").glob("checkpoint-*")
    finished = sorted(path for path in checkpoints if path.name.rpartition("-")[2].isdigit())
    if not finished:
        return
    state = json.loads((finished[-1] / "state.json").read_text())
    yield f"a checkpoint at step {state['step']:,} of {state['steps']:,}"
