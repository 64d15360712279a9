"""The declaration of the train stage."""

from __future__ import annotations

from recipekit.stages.stage import Stage, lazy
from recipekit.stages.train.section import TrainSection

__all__ = ["TRAIN"]

TRAIN = Stage(
    name="train",
    version=2,
    section=TrainSection,
    run=lazy("recipekit.stages.train.train:train"),
    writes={"encoder": "encoder", "training": "training.json"},
    counts={
        "positives": "positives in training",
        "hard_negatives": "hard negatives in training",
        "steps": "optimizer steps",
    },
    reads=("mine", "judge"),
    ranks=True,
    trains=True,
    estimate=lazy("recipekit.stages.train.estimate:estimate"),
    unfinished=lazy("recipekit.stages.train.unfinished:unfinished"),
    describe=lazy("recipekit.stages.train.describe:describe"),
    check=lazy("recipekit.stages.train.check:check"),
)
