"""The class of device that a run computes on."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

__all__ = ["device_class"]

PROGRAM: Final = """
import torch
accelerator = torch.accelerator.current_accelerator(check_available=True)
print(accelerator.type if accelerator is not None else "cpu")
"""


def device_class(*, cpu: bool = False) -> str:
    """Return `cpu`, `cuda`, `mps` or another type of torch's.

    Another process asks torch, since the process that starts stages does not import it.

    Args:
        cpu: Whether accelerators are left out, as by `--cpu`.
    """
    if cpu:
        return "cpu"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    return ended.stdout.strip() or "cpu"
