"""Thresholds on a judge's scores, from pairs of known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recipekit.errors import ComponentError
from recipekit.records import Dataset, Floats, Ints, pair_keys

__all__ = ["Calibration", "KnownPairs", "Thresholds", "known_pairs", "thresholds"]

FEWEST = 20
"""Known positives below which quantiles mean nothing, and known negatives below which random passages stand in for them."""


class Calibration(BaseModel):
    """How thresholds are found on known pairs.

    Known are the labels of the queries of `split`, a sample of at most `pairs` positives and as many judged negatives.

    - `negative_below` is the score that a share `recall` of the known positives reaches: what scores lower than almost every
      known positive is a negative.
    - `positive_from` is the lowest score from which the known pairs are positives with the wanted precision, counted as if a
      share `positive_share` of the candidates were positives: with TPR and FPR the shares of the known positives and
      negatives that score as much, s * TPR / (s * TPR + (1 - s) * FPR) >= precision. It is never below `negative_below`.

    Where fewer than 20 negatives are known, a random passage per known positive stands in for them. Random passages are easier than
    the near misses that retrieval brings, so `positive_from` is then also at least the known positives' `positive_quantile`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    precision: float = Field(default=0.9, gt=0, le=1)
    """The least share of true positives among what is called positive."""
    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of the known positives that must not be called negative."""
    positive_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the candidates that are thought to be relevant. The smaller it is, the higher `positive_from`."""
    positive_quantile: float = Field(default=0.5, ge=0, lt=1)
    """Share of the known positives that score below `positive_from`, at least, where no negatives are known."""
    split: str = Field(default="dev", pattern="^(train|dev)$")
    """Whose labels are known. Those of dev are not among the pairs that are judged blind to measure the judge; train's are."""
    pairs: int = Field(default=1000, ge=FEWEST)
    """How many known positives to score at most, and how many negatives."""


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of known truth: rows of queries and passages, int32 (n,), and whether they are positives, bool (n,)."""

    query: Ints
    passage: Ints
    positive: Any
    random_negatives: bool
    """Whether the negatives are passages drawn at random."""


@dataclass(frozen=True)
class Thresholds:
    """Scores of at least `positive_from` are positives, those below `negative_below` negatives, what is between is ignored."""

    positive_from: float
    negative_below: float


def known_pairs(dataset: Dataset, calibration: Calibration, seed: int) -> KnownPairs:
    """A seeded sample of the pairs whose truth is known.

    Raises:
        ComponentError: There are too few known positives.
    """
    rng = np.random.default_rng([seed, 0xCA11])
    labels = dataset.labels
    query, passage = labels["query"].to_numpy(), labels["passage"].to_numpy()
    of_split = np.isin(query, dataset.rows(calibration.split))
    positive = labels["grade"].to_numpy() > 0
    positives, negatives = np.flatnonzero(of_split & positive), np.flatnonzero(of_split & ~positive)
    if len(positives) < FEWEST:
        raise ComponentError(
            f"calibrate: {len(positives)} positives are known of {calibration.split} queries, and at least {FEWEST} are needed: "
            "give positive_from and negative_below, or calibrate on another split",
            code="RK260",
        )
    positives = rng.choice(positives, size=min(len(positives), calibration.pairs), replace=False)
    pairs = [(query[positives], passage[positives])]
    drawn = len(negatives) < FEWEST
    if drawn:
        pairs.append(_random_negatives(dataset, query[positives], rng))
    else:
        negatives = rng.choice(negatives, size=min(len(negatives), calibration.pairs), replace=False)
        pairs.append((query[negatives], passage[negatives]))
    queries, passages = (np.concatenate(column).astype(np.int32) for column in zip(*pairs, strict=True))
    return KnownPairs(queries, passages, np.arange(len(queries)) < len(positives), drawn)


def _random_negatives(dataset: Dataset, query: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """A random passage per query of the sample that is no labelled one of it; the few that are drawn labelled are left out."""
    n = len(dataset.passages)
    passage = rng.integers(0, n, size=len(query))
    labelled = pair_keys(dataset.labels["query"].to_numpy(), dataset.labels["passage"].to_numpy(), n)
    free = ~np.isin(pair_keys(query, passage, n), labelled)
    return query[free], passage[free].astype(np.int32)


def thresholds(scores: Floats, known: KnownPairs, calibration: Calibration) -> Thresholds:
    """Thresholds from the scores of known pairs, (n,); see `Calibration`. `positive_from` is inf where no score is precise enough."""
    positives, negatives = np.sort(scores[known.positive]), np.sort(scores[~known.positive])
    negative_below = float(np.quantile(positives, 1 - calibration.recall, method="lower"))
    # At each positive's score: the shares of positives and of negatives that score as much or more.
    hits = 1 - np.searchsorted(positives, positives, side="left") / len(positives)
    misses = 1 - np.searchsorted(negatives, positives, side="left") / max(len(negatives), 1)
    share = calibration.positive_share
    precise = share * hits / (share * hits + (1 - share) * misses) >= calibration.precision
    positive_from = float(positives[np.argmax(precise)]) if precise.any() else np.inf
    if known.random_negatives:
        positive_from = max(positive_from, float(np.quantile(positives, calibration.positive_quantile, method="higher")))
    return Thresholds(max(positive_from, negative_below), negative_below)
