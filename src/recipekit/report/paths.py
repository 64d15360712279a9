"""Paths as people read them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["path_from_here"]


def path_from_here(path: Path) -> Path:
    """Return a path relative to the current folder if it is inside, and else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
