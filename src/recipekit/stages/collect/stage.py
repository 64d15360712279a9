"""The declaration of the collect stage."""

from __future__ import annotations

from recipekit.stages.collect.section import CollectSection
from recipekit.stages.stage import Stage, lazy

__all__ = ["COLLECT"]

COLLECT = Stage(
    name="collect",
    section=CollectSection,
    version=2,
    run=lazy("recipekit.stages.collect.collect:collect"),
    counts={
        "passages": "passages in the corpus",
        "queries.train": "train queries",
        "queries.dev": "dev queries",
        "queries.test": "test queries",
    },
    extends_dataset=True,
    rechecks_live=False,  # a source reads an index as of one point in time
    sizes=lazy("recipekit.stages.collect.estimate:expected_sizes"),
    sizes_key="collect.expected_size",
    estimate=lazy("recipekit.stages.collect.estimate:estimate"),
    describe=lazy("recipekit.stages.collect.describe:describe"),
)
