"""The declaration of the evaluate stage."""

from __future__ import annotations

from recipekit.stages.evaluate.section import EvaluateSection
from recipekit.stages.stage import Stage, lazy

__all__ = ["EVALUATE"]

EVALUATE = Stage(
    name="evaluate",
    version=2,
    section=EvaluateSection,
    run=lazy("recipekit.stages.evaluate.evaluate:evaluate"),
    writes={"metrics": "metrics.json", "rankings": "rankings"},
    reads=("train",),
    ranks=True,
    estimate=lazy("recipekit.stages.evaluate.estimate:estimate"),
    describe=lazy("recipekit.stages.evaluate.describe:describe"),
    lacks_encoder=lazy("recipekit.stages.evaluate.check:lacks_encoder"),
    check=lazy("recipekit.stages.evaluate.check:check"),
)
