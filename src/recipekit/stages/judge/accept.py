"""Reliability floors, checked for cached judgments too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from recipekit.artifacts.store import Artifact
from recipekit.errors import RunError
from recipekit.judging.floors import enforce_floors
from recipekit.judging.reliability import RELIABILITY_FILE
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.judge.summary import pairs_over_budget

__all__ = ["accept"]


def accept(section: JudgeSection, artifact: Artifact, run: Path) -> None:
    """Compare judgments with the reliability floors that the recipe has now.

    Floors are not part of the key, so cached judgments may have been made under others.

    Raises:
        RunError: The judges stay below a floor. The figures are in the run's `reliability.json`.
    """
    file = artifact.path / RELIABILITY_FILE
    if not file.is_file():
        return
    reliability = json.loads(file.read_text(encoding="utf-8"))
    copy = run / RELIABILITY_FILE
    over_budget = pairs_over_budget(artifact.manifest["summary"]["judges"])
    try:
        enforce_floors(reliability, section.require, file=str(copy), over_budget=over_budget)
    except RunError:
        shutil.copyfile(file, copy)
        raise
