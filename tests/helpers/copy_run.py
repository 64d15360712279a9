"""A copy of a project folder with a finished run, for tests that change it."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_run(source: Path, target: Path, recipe: str) -> None:
    """Copy a project whose only run is of a recipe; the run names the copy as its folder."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    resolved = next(target.glob(f"runs/{recipe}/2*/recipe.resolved.yaml"))
    resolved.write_text(resolved.read_text().replace(str(source), str(target)))
