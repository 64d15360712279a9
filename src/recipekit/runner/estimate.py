"""How much work a stage will be, as far as it can be known before it has run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipekit.component import JudgeSpec
from recipekit.judges.label_files import read_labels
from recipekit.recipe.models import JudgeSection, MineSection, Recipe, Section, TrainSection
from recipekit.records import SPLITS, Dataset

__all__ = ["estimate"]


def estimate(
    recipe: Recipe, stage: str, section: Section, dataset: Dataset | None, mined: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The work of a stage: queries, passages, pairs, steps, and what its components say of themselves.

    Args:
        recipe: The recipe.
        stage: The stage's name.
        section: Its section.
        dataset: The collected data; None where it is not collected yet, and then little can be known.
        mined: What the mine stage counted, where it is made.
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
        return _judging(section, recipe.mine, dataset, mined)
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


@dataclass(frozen=True)
class _Pile:
    """What there is to judge, exactly where it is mined already, at most otherwise."""

    queries: int
    pairs: int
    """Candidates, given positives not counted."""
    positives: int
    negatives: int
    """Labels of the mined queries; how many of them are candidates is not known before mining."""
    people: int
    mined: bool


def _judging(section: JudgeSection, mine: MineSection, dataset: Dataset, mined: Mapping[str, Any] | None) -> dict[str, Any]:
    """Pairs, and for each judge the pairs that it may be asked about and what its component says of so many."""
    pile = _pile(section, mine, dataset, mined)
    told: dict[str, Any] = {"pairs" if pile.mined else "pairs at most": pile.pairs}
    judges: dict[str, dict[str, Any]] = {}
    for name, slot in section.judges.items():
        assert isinstance(slot.spec, JudgeSpec)
        pairs, exact = _asked(slot.spec, section, pile)
        work = dict(slot.spec.estimate(dataset, pairs))
        if work or type(slot.spec).measured:
            judges[name] = {"pairs" if exact else "pairs at most": pairs, **work}
    if judges:
        told["judges"] = judges
    costs = [work["usd"] for work in judges.values() if "usd" in work]
    if len(costs) > 1 and all(isinstance(cost, int | float) for cost in costs):
        told["usd"] = sum(costs)
    limits = {"max_cost_usd": section.max_cost_usd, "max_calls": section.max_calls}
    return {**told, **{name: limit for name, limit in limits.items() if limit is not None}}


def _pile(section: JudgeSection, mine: MineSection, dataset: Dataset, mined: Mapping[str, Any] | None) -> _Pile:
    splits = dataset.queries.table["split"].to_numpy()[dataset.labels["query"].to_numpy()]
    positive = (dataset.labels["grade"].to_numpy() > 0)[np.isin(splits, [SPLITS.index(split) for split in mine.splits])]
    positives = int(positive.sum())
    queries = _queries(dataset, mine.splits)
    people = len(read_labels(section.trust.sample)) if section.trust.sample else 0
    pairs = queries * _kept(mine) if mined is None else int(mined["candidates"]) - positives
    return _Pile(queries, pairs, positives, len(positive) - positives, people, mined is not None)


def _asked(spec: JudgeSpec, section: JudgeSection, pile: _Pile) -> tuple[int, bool]:
    """How many pairs a judge may be asked about, and whether that is their number, or the most that it can be.

    What a judge's conditions leave of the verdicts before it is not known before these are there: then it is all of them.
    """
    pairs = pile.pairs if spec.top is None else min(pile.pairs, pile.queries * spec.top)
    said_before = spec.when is not None or spec.below_confidence is not None or spec.disagreeing_with is not None
    exact = pile.mined and spec.top is None and spec.near_positive is None and not said_before
    if section.audit_given:
        pairs += pile.positives
    if type(spec).measured:
        # Judged negatives are among the candidates anyway, and so are most of the pairs that people labelled.
        pairs += (0 if section.audit_given else round(section.trust.known * pile.positives)) + (0 if pile.mined else pile.people)
        exact = exact and (section.audit_given or section.trust.known == 0)
    return (pairs, exact) if spec.sample is None or spec.sample > pairs else (spec.sample, exact or not said_before)
