"""How much work a stage will be, as far as it can be known before it has run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recipekit.recipe.models import JudgeSection, MineSection, Recipe, Section, TrainSection
from recipekit.records import Dataset

__all__ = ["estimate"]


def estimate(recipe: Recipe, stage: str, section: Section, dataset: Dataset | None) -> dict[str, Any]:
    """The work of a stage: queries, passages, pairs, steps, and what its components say of themselves.

    Args:
        recipe: The recipe.
        stage: The stage's name.
        section: Its section.
        dataset: The collected data; None where it is not collected yet, and then little can be known.
    """
    if stage == "collect":
        return {}
    if dataset is None:
        return {"unknown until": "collect has run"}
    sizes = {"queries": len(dataset.queries), "passages": len(dataset.passages)}
    if isinstance(section, MineSection):
        queries = _queries(dataset, section.splits)
        return {**sizes, "queries to mine": queries, "candidates at most": queries * _kept(section)}
    if isinstance(section, JudgeSection) and recipe.mine is not None:
        pairs = _queries(dataset, recipe.mine.splits) * _kept(recipe.mine)
        return {"pairs at most": pairs, **_components(section, dataset, pairs)}
    if isinstance(section, TrainSection):
        queries = len(dataset.rows("train"))
        steps = math.ceil(queries / section.batch_size)
        total = sum(steps * phase.query_epochs * phase.cycles for phase in section.phases.values())
        return {"training queries at most": queries, "passages": sizes["passages"], "steps": total}
    return sizes


def _queries(dataset: Dataset, splits: tuple[str, ...]) -> int:
    return sum(len(dataset.rows(split)) for split in splits)


def _kept(section: MineSection) -> int:
    """Candidates per query at most."""
    retrieved = sum(slot.spec.depth for slot in section.retrievers.values())  # type: ignore[attr-defined]
    return min(retrieved, section.keep) if section.keep else int(retrieved)


def _components(section: JudgeSection, dataset: Dataset, pairs: int) -> Mapping[str, Any]:
    said = {name: dict(slot.spec.estimate(dataset, pairs)) for name, slot in section.judges.items()}
    return {name: work for name, work in said.items() if work}
