"""Thresholds on a judge's scores, from pairs of known truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from recipekit.arrays import Floats, Ints, Rows, pair_keys
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.intervals import wilson_bounds

__all__ = [
    "Calibration",
    "KnownPairs",
    "Thresholds",
    "fewest_negatives",
    "known_labels",
    "known_pairs",
    "thresholds",
]

FEWEST = 20
"""Known positives below which quantiles mean nothing, and known negatives below which random
passages stand in for them.
"""

Z = 1.6448536269514722
"""The normal quantile of a one-sided 95 % bound."""


class Calibration(BaseModel):
    """How thresholds are found on known pairs.

    Known are the labels of the queries of `split`, a sample of at most `pairs` positives and as
    many judged negatives.

    - `negative_threshold` is the score that a share `recall` of the known positives reaches: what
      scores lower than almost every known positive is a negative.
    - `positive_threshold` is the lowest score from which the known pairs show the wanted precision,
      counted as if a share `positive_share` of the candidates were positives: with TPR the share of
      the known positives that score as much, and U the most that the false-positive rate may be, s
      * TPR / (s * TPR + (1 - s) * U) >= precision. It is never below `negative_threshold`.

    U is the upper end of Wilson's interval (1927), one-sided at 95 %: where k of n known negatives
    score as much, p = k / n and z = 1.645, U = (p + z²/2n + z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    Few negatives show little: even with k = 0, U = z² / (n + z²), and a precision of 0.9 at a share
    of 0.1 takes 217 of them (`fewest_negatives`). With fewer, nothing is a positive.

    Where fewer than 20 negatives are known, random passages stand in for them. They are easier than
    the near misses that retrieval brings, so `positive_threshold` is then also at least the known
    positives' `positive_quantile`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    precision: float = Field(default=0.9, gt=0, lt=1)
    """The least share of true positives among what is called positive.

    No number of known pairs can show that it is 1.
    """
    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of the known positives that must not be called negative."""
    positive_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the candidates that are thought to be relevant.

    The smaller it is, the higher `positive_threshold`.
    """
    positive_quantile: float = Field(default=0.5, ge=0, lt=1)
    """Share of the known positives that score below `positive_threshold`, at least, where no
    negatives are known.
    """
    split: Literal["train", "dev"] = "dev"
    """Whose labels are known. The labels of queries that are mined (`mine.splits`) also measure the
    judge, blind: with thresholds that were found on the same labels, it looks better than it is. By
    default train is mined and dev is not."""
    pairs: int = Field(default=1000, ge=FEWEST)
    """How many known positives to score at most, and how many negatives."""


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of known truth: rows of queries and passages, int32 (n,), and whether they are
    positives, bool (n,).
    """

    query: Ints
    passage: Ints
    positive: Any
    random_negatives: bool
    """Whether the negatives are passages drawn at random."""


@dataclass(frozen=True)
class Thresholds:
    """Scores of at least `positive_threshold` are positives, those below `negative_threshold`
    negatives, what is between is ignored.
    """

    positive_threshold: float
    negative_threshold: float


def known_pairs(dataset: Dataset, calibration: Calibration, seed: int) -> KnownPairs:
    """A seeded sample of the pairs whose truth is known.

    Raises:
        DataError: There are too few known positives.
    """
    rng = np.random.default_rng([seed, 0xCA11])
    query, passage = dataset.labels["query"].to_numpy(), dataset.labels["passage"].to_numpy()
    positives, negatives = known_labels(dataset, calibration)
    positives = rng.choice(positives, size=min(len(positives), calibration.pairs), replace=False)
    pairs = [(query[positives], passage[positives])]
    drawn = len(negatives) < FEWEST
    if drawn:
        pairs.append(
            _random_negatives(dataset, rng.choice(query[positives], size=calibration.pairs), rng)
        )
    else:
        negatives = rng.choice(
            negatives, size=min(len(negatives), calibration.pairs), replace=False
        )
        pairs.append((query[negatives], passage[negatives]))
    queries, passages = (
        np.concatenate(column).astype(np.int32) for column in zip(*pairs, strict=True)
    )
    return KnownPairs(queries, passages, np.arange(len(queries)) < len(positives), drawn)


def known_labels(dataset: Dataset, calibration: Calibration) -> tuple[Rows, Rows]:
    """Rows of the labels that calibration may use: the positives, and the judged negatives.

    Raises:
        DataError: There are too few known positives.
    """
    of_split = np.isin(dataset.labels["query"].to_numpy(), dataset.rows(calibration.split))
    positive = dataset.labels["grade"].to_numpy() > 0
    positives = np.flatnonzero(of_split & positive)
    if len(positives) < FEWEST:
        raise DataError(
            f"calibrate: {len(positives)} positives are known of {calibration.split} queries, and at least {FEWEST} are needed: "
            "give positive_threshold and negative_threshold, or calibrate on another split",
            code="RK337",
        )
    return positives, np.flatnonzero(of_split & ~positive)


def _random_negatives(dataset: Dataset, query: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """A random passage for each query of a sample; the few pairs that are labelled, or drawn twice,
    are left out.
    """
    n = len(dataset.passages)
    labelled = pair_keys(
        dataset.labels["query"].to_numpy(), dataset.labels["passage"].to_numpy(), n
    )
    drawn = pair_keys(query, rng.integers(0, n, size=len(query)), n)
    free = np.setdiff1d(drawn, labelled)
    return (free // n).astype(np.int32), (free % n).astype(np.int32)


def thresholds(scores: Floats, known: KnownPairs, calibration: Calibration) -> Thresholds:
    """Thresholds from the scores of known pairs, (n,); see `Calibration`.

    `positive_threshold` is inf where no score is shown to be precise.
    """
    positives, negatives = np.sort(scores[known.positive]), np.sort(scores[~known.positive])
    negative_threshold = float(np.quantile(positives, 1 - calibration.recall, method="lower"))
    # At each positive's score: the share of positives that score as much or more, and the most that
    # the negatives' may be.
    hits = 1 - np.searchsorted(positives, positives, side="left") / len(positives)
    misses = _at_most(
        len(negatives) - np.searchsorted(negatives, positives, side="left"), len(negatives)
    )
    share = calibration.positive_share
    precise = share * hits / (share * hits + (1 - share) * misses) >= calibration.precision
    positive_threshold = float(positives[np.argmax(precise)]) if precise.any() else np.inf
    if known.random_negatives:
        positive_threshold = max(
            positive_threshold,
            float(np.quantile(positives, calibration.positive_quantile, method="higher")),
        )
    return Thresholds(max(positive_threshold, negative_threshold), negative_threshold)


def fewest_negatives(calibration: Calibration) -> int:
    """How many known negatives it takes to show the precision, if none of them scores as much as
    any positive; see `Calibration`.
    """
    share, precision = calibration.positive_share, calibration.precision
    rate = (
        share * (1 - precision) / (precision * (1 - share))
    )  # the highest false-positive rate that is precise enough
    return max(math.ceil(Z**2 * (1 / rate - 1)), 1)


def _at_most(hits: Rows, n: int) -> npt.NDArray[np.float64]:
    """The upper end of Wilson's interval, one-sided at 95 %, of each share hits / n; of none, what
    one that is no hit would show.
    """
    return wilson_bounds(hits, max(n, 1), Z)[1]
