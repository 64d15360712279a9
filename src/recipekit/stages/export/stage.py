"""The declaration of the export stage."""

from __future__ import annotations

from recipekit.stages.export.section import ExportSection
from recipekit.stages.stage import Stage, lazy

__all__ = ["EXPORT"]

EXPORT = Stage(
    name="export",
    section=ExportSection,
    run=lazy("recipekit.stages.export.export:export"),
    exports=True,
    reads=("mine", "judge", "train", "evaluate"),
    estimate=lazy("recipekit.stages.export.estimate:estimate"),
    describe=lazy("recipekit.stages.export.describe:describe"),
    accept=lazy("recipekit.stages.export.accept:accept"),
    check=lazy("recipekit.stages.export.check:check"),
)
