"""The declaration of the judge stage."""

from __future__ import annotations

from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.stage import Stage, lazy

__all__ = ["JUDGE"]

JUDGE = Stage(
    name="judge",
    section=JudgeSection,
    run=lazy("recipekit.stages.judge.judge:judge"),
    writes={"judgments": "judgments.arrow", "reliability": "reliability.json"},
    counts={
        "verdicts.positive": "pairs judged positive",
        "verdicts.negative": "pairs judged negative",
        "verdicts.ignore": "pairs ignored",
    },
    reads=("mine",),
    needs=("mine",),
    version=2,
    ranks=True,
    estimate=lazy("recipekit.stages.judge.estimate:estimate"),
    check=lazy("recipekit.stages.judge.check:check"),
    accept=lazy("recipekit.stages.judge.accept:accept"),
    unfinished=lazy("recipekit.stages.judge.unfinished:unfinished"),
    describe=lazy("recipekit.stages.judge.describe:describe"),
)
