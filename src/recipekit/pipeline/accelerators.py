"""The accelerators of this machine, as torch finds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from recipekit.errors import RunError

__all__ = ["Accelerators", "find_accelerators"]

PROGRAM: Final = """
import json, torch
device = torch.accelerator.current_accelerator(check_available=True)
found = {"type": device.type, "count": torch.accelerator.device_count()} if device else {}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Accelerators:
    """The accelerators that torch can use: GPUs of any maker, or NPUs and others by a plugin."""

    type: str = "cpu"
    """Their type in torch, such as `cuda` (also for ROCm), `mps` or `xpu`; `cpu` if there are
    none."""
    count: int = 0


def find_accelerators(listed: str | None = None) -> Accelerators:
    """Ask torch, in another process: the process that starts stages does not import torch.

    Args:
        listed: The GPUs that a run may use, such as `0,1`; None for those of the environment.

    Raises:
        RunError: torch cannot be imported.
    """
    environment = os.environ if listed is None else {**os.environ, "CUDA_VISIBLE_DEVICES": listed}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        reason = ended.stderr.strip().rpartition("\n")[2] or f"exit status {ended.returncode}"
        raise RunError(f"torch cannot look for GPUs: {reason}", code="RK604")
    return Accelerators(**json.loads(ended.stdout.strip().rpartition("\n")[2]))
