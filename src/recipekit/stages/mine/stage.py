"""The declaration of the mine stage."""

from __future__ import annotations

from recipekit.stages.mine.section import MineSection
from recipekit.stages.stage import Stage, lazy

__all__ = ["MINE"]

MINE = Stage(
    name="mine",
    version=2,
    section=MineSection,
    run=lazy("recipekit.stages.mine.mine:mine"),
    writes={"candidates": "candidates.arrow"},
    counts={"candidates": "mined candidates"},
    ranks=True,
    estimate=lazy("recipekit.stages.mine.estimate:estimate"),
    describe=lazy("recipekit.stages.mine.describe:describe"),
    check=lazy("recipekit.stages.mine.check:check"),
)
