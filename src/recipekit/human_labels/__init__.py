"""Labels of people: their files, the sampling weights next to a file, and their rows of the data.

The judge `labels`, control pairs and labelling samples share it. It imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["MAX_UNKNOWN_IDS", "weights_file"]

MAX_UNKNOWN_IDS: Final = 0.5
"""Largest share of labels with ids that are not in the data, unless a recipe sets another one."""


def weights_file(file: Path) -> Path:
    """Return the file next to a sample with how many pairs each of its pairs represents."""
    return Path(f"{file}.weights.json")
