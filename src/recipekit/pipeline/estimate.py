"""How much work a stage will be, as far as it can be known before it has run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recipekit.component import EncoderSpec, JudgeSpec, LossSpec, RetrieverSpec, Sizes
from recipekit.dataset import Dataset
from recipekit.judges.label_files import read_labels
from recipekit.recipe.sections import (
    EvaluateSection,
    JudgeSection,
    MineSection,
    Recipe,
    Section,
    TrainSection,
)
from recipekit.records import SPLITS

__all__ = ["estimate"]

FLOATS = 4
"""Bytes of a float32."""


def estimate(
    recipe: Recipe,
    stage: str,
    section: Section,
    dataset: Dataset | None,
    mined: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The work of a stage: queries, passages, pairs, steps, and what its components say of
    themselves.

    Args:
        recipe: The recipe.
        stage: The stage's name.
        section: Its section.
        dataset: The collected data; None where it is not collected yet. Then
            `collect.expected_size` stands for it, if the recipe has it.
        mined: What the mine stage counted, where it is made.
    """
    sizes = Sizes.of(dataset) if dataset is not None else _expected(recipe)
    if stage == "collect":
        return {} if sizes is None else _collecting(sizes)
    if sizes is None:
        return {"unknown until": "collect has run (`collect.expected_size` can say what to expect)"}
    if isinstance(section, MineSection):
        return _mining(recipe, section, sizes)
    if isinstance(section, JudgeSection) and recipe.mine is not None:
        return _judging(section, recipe.mine, _labelled(sizes, recipe.mine.splits, dataset), mined)
    if isinstance(section, TrainSection):
        return _training(recipe, section, sizes)
    counts = {"queries": sizes.n_queries, "passages": sizes.passages}
    return (
        {**counts, **_encoding(recipe, [section.encoder], sizes)}
        if isinstance(section, EvaluateSection)
        else counts
    )


def _expected(recipe: Recipe) -> Sizes | None:
    expect = recipe.collect.expected_size
    if expect is None:
        return None
    return Sizes.foreseen(
        expect.queries,  # type: ignore[arg-type]
        expect.passages,
        query_characters=expect.query_characters,
        passage_characters=expect.passage_characters,
        positives_per_query=expect.positives_per_query,
    )


def _labelled(sizes: Sizes, splits: tuple[str, ...], dataset: Dataset | None) -> Sizes:
    """The sizes of some splits, with their own labels counted where there are some."""
    if dataset is None:
        return sizes.within(splits)
    codes = dataset.queries.table["split"].to_numpy()[dataset.labels["query"].to_numpy()]
    positive = (dataset.labels["grade"].to_numpy() > 0)[
        np.isin(codes, [SPLITS.index(split) for split in splits])
    ]
    return sizes.within(splits, positives=int(positive.sum()))


def _collecting(sizes: Sizes) -> dict[str, Any]:
    texts = sizes.passages * sizes.passage_bytes + sizes.n_queries * sizes.query_bytes
    return {"queries": sizes.n_queries, "passages": sizes.passages, "bytes of text": texts}


def _mining(recipe: Recipe, section: MineSection, sizes: Sizes) -> dict[str, Any]:
    """Queries and candidates, and what each retriever will do and hold."""
    mined = sizes.within(section.splits)
    queries = mined.n_queries
    told: dict[str, Any] = {
        "queries": sizes.n_queries,
        "passages": sizes.passages,
        "queries to mine": queries,
        "candidates at most": queries * _kept(section),
    }
    encoders = [
        encoder
        for slot in section.retrievers.values()
        if (encoder := getattr(slot.spec, "encoder", None))
    ]
    told |= _encoding(recipe, encoders, sizes)
    retrievers: dict[str, Any] = {}
    for name, slot in section.retrievers.items():
        assert isinstance(slot.spec, RetrieverSpec)
        dimension = _dimension(recipe, getattr(slot.spec, "encoder", None))
        if work := dict(
            slot.spec.estimate(replace(mined, dimension=dimension), queries * slot.spec.depth)
        ):
            retrievers[name] = work
    return {**told, "retrievers": retrievers} if retrievers else told


def _encoding(recipe: Recipe, names: list[str], sizes: Sizes) -> dict[str, Any]:
    """Memory-mapped matrices of the encoders that a stage asks."""
    dimensions = [_dimension(recipe, name) for name in dict.fromkeys(names)]
    if not dimensions or None in dimensions:
        return {}
    texts = sizes.passages + sizes.n_queries
    return {
        "texts to encode at most": texts * len(dimensions),
        "bytes of embeddings at most": texts * FLOATS * sum(filter(None, dimensions)),
    }


def _dimension(recipe: Recipe, name: str | None) -> int | None:
    """The dimension of an encoder's embeddings, as far as it can be known without loading it."""
    if name is None:
        return None
    slot = (recipe.encoders or {}).get(name)
    known = (
        slot.spec.known_dimension()
        if slot is not None and isinstance(slot.spec, EncoderSpec)
        else None
    )
    return known or (
        recipe.collect.expected_size.dimension if recipe.collect.expected_size else None
    )


def _training(recipe: Recipe, section: TrainSection, sizes: Sizes) -> dict[str, Any]:
    queries = sizes.queries.get("train", 0)
    steps = math.ceil(queries / section.batch_size)
    told: dict[str, Any] = {
        "training queries at most": queries,
        "passages": sizes.passages,
        "steps": sum(
            steps * phase.query_epochs * phase.cycles for phase in section.phases.values()
        ),
    }
    dimension = _dimension(recipe, section.encoder)
    if dimension is None:
        return told
    if not any(
        isinstance(phase.loss.spec, LossSpec) and phase.loss.spec.whole_corpus
        for phase in section.phases.values()
    ):
        return told
    # Value and gradient of the streamed softmax take 4 B N d operations, multiplications and
    # additions counted apart.
    flop = 4.0 * min(section.batch_size, queries) * sizes.passages * dimension
    return {
        **told,
        "bytes of the frozen matrix": sizes.passages * dimension * FLOATS,
        "flop a step in the loss": flop,
    }


def _kept(section: MineSection) -> int:
    """Candidates per query at most."""
    retrieved = sum(slot.spec.depth for slot in section.retrievers.values())
    return (
        min(retrieved, section.candidates_per_query)
        if section.candidates_per_query
        else int(retrieved)
    )


@dataclass(frozen=True)
class _Pile:
    """What there is to judge, exactly where it is mined already, at most otherwise."""

    queries: int
    pairs: int
    """Candidates, source positives not counted."""
    positives: int
    """Given positives of the mined queries; how many of them are candidates is not known before
    mining.
    """
    people: int
    mined: bool


def _judging(
    section: JudgeSection, mine: MineSection, sizes: Sizes, mined: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Pairs, and for each judge the pairs that it may be asked about and what its component says of
    so many.
    """
    pile = _pile(section, mine, sizes, mined)
    told: dict[str, Any] = {"pairs" if pile.mined else "pairs at most": pile.pairs}
    judges: dict[str, dict[str, Any]] = {}
    for name, slot in section.judges.items():
        assert isinstance(slot.spec, JudgeSpec)
        pairs, exact = _asked(slot.spec, section, pile)
        work = dict(slot.spec.estimate(sizes, pairs))
        if work or type(slot.spec).measured:
            judges[name] = {"pairs" if exact else "pairs at most": pairs, **work}
    if judges:
        told["judges"] = judges
    costs = [work["usd"] for work in judges.values() if "usd" in work]
    if len(costs) > 1 and all(isinstance(cost, int | float) for cost in costs):
        told["usd"] = sum(costs)
    limits = {"max_cost_usd": section.max_cost_usd, "max_calls": section.max_calls}
    return {**told, **{name: limit for name, limit in limits.items() if limit is not None}}


def _pile(
    section: JudgeSection, mine: MineSection, sizes: Sizes, mined: Mapping[str, Any] | None
) -> _Pile:
    people = (
        len(read_labels(section.control_pairs.human_labels))
        if section.control_pairs.human_labels
        else 0
    )
    pairs = (
        sizes.n_queries * _kept(mine)
        if mined is None
        else int(mined["candidates"]) - sizes.positives
    )
    return _Pile(sizes.n_queries, pairs, sizes.positives, people, mined is not None)


def _asked(spec: JudgeSpec, section: JudgeSection, pile: _Pile) -> tuple[int, bool]:
    """How many pairs a judge may be asked about, and whether that is their number, or the most that
    it can be.

    What a judge's conditions leave of the verdicts before it is not known before these are there:
    then it is all of them.
    """
    pairs = pile.pairs if spec.max_rank is None else min(pile.pairs, pile.queries * spec.max_rank)
    said_before = (
        spec.previous_verdicts is not None
        or spec.below_confidence is not None
        or spec.disagreeing_with is not None
    )
    exact = (
        pile.mined
        and spec.max_rank is None
        and spec.ranks_below_positive is None
        and not said_before
    )
    if section.rejudge_source_labels:
        pairs += pile.positives
    if type(spec).measured:
        # Judged negatives are among the candidates anyway, and so are most of the pairs that people
        # labelled.
        pairs += (
            0
            if section.rejudge_source_labels
            else _drawn(section.control_pairs.share, pile.positives)
        ) + (0 if pile.mined else pile.people)
        exact = exact and (section.rejudge_source_labels or section.control_pairs.share == 0)
    return (
        (pairs, exact)
        if spec.max_pairs is None or spec.max_pairs > pairs
        else (spec.max_pairs, exact or not said_before)
    )


def _drawn(share: float, n: int) -> int:
    """Of `n` pairs, each drawn with a chance, how many these are at most: three standard deviations
    above the mean.
    """
    return min(n, math.ceil(share * n + 3 * math.sqrt(share * (1 - share) * n)))
