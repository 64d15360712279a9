"""Thresholds on a judge's scores, from labelled pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recipekit.arrays import Bools, Floats, Ints, Rows, pair_keys
from recipekit.dataset import Dataset
from recipekit.errors import DataError
from recipekit.judges.cross_encoder import MIN_LABELS, CalibrationSpec
from recipekit.own_texts import own_texts
from recipekit.proportions import wilson_interval

__all__ = [
    "CalibrationPairs",
    "labelled_rows",
    "min_negatives",
    "sample_labelled_pairs",
    "thresholds",
]

SAMPLE_STREAM = 0xCA11
"""Separates the random sample from others with the same seed."""
ONE_SIDED = 1.6448536269514722
"""The normal quantile of a one-sided 95 % bound."""


@dataclass(frozen=True)
class CalibrationPairs:
    """Pairs whose label is known."""

    query: Ints
    passage: Ints
    positive: Bools
    random_negatives: bool
    """Whether the negatives are random passages."""


def sample_labelled_pairs(
    dataset: Dataset, calibration: CalibrationSpec, seed: int
) -> CalibrationPairs:
    """A seeded sample of labelled positives, and of judged negatives or random passages.

    Raises:
        DataError: There are too few labelled positives.
    """
    rng = np.random.default_rng([seed, SAMPLE_STREAM])
    limit = calibration.max_pairs_per_label
    query, passage = dataset.labels["query"].to_numpy(), dataset.labels["passage"].to_numpy()
    positives, negatives = labelled_rows(dataset, calibration)
    positives = rng.choice(positives, size=min(len(positives), limit), replace=False)
    random_negatives = len(negatives) < MIN_LABELS
    if random_negatives:
        queries = query[positives]
        count = min(limit, len(queries) * len(dataset.passages))
        negative_pairs = _random_pairs(dataset, rng.choice(queries, size=count), rng)
    else:
        negatives = rng.choice(negatives, size=min(len(negatives), limit), replace=False)
        negative_pairs = query[negatives], passage[negatives]
    return CalibrationPairs(
        np.concatenate([query[positives], negative_pairs[0]]).astype(np.int32),
        np.concatenate([passage[positives], negative_pairs[1]]).astype(np.int32),
        np.arange(len(positives) + len(negative_pairs[0])) < len(positives),
        random_negatives,
    )


def labelled_rows(dataset: Dataset, calibration: CalibrationSpec) -> tuple[Rows, Rows]:
    """The label rows that calibration can use: of positives, and of judged negatives.

    Raises:
        DataError: There are too few labelled positives.
    """
    in_split = np.isin(dataset.labels["query"].to_numpy(), dataset.rows(calibration.split))
    positive = dataset.labels["grade"].to_numpy() > 0
    positives = np.flatnonzero(in_split & positive)
    if len(positives) < MIN_LABELS:
        raise DataError(
            f"calibration: {calibration.split} queries have {len(positives)} labelled positives, "
            f"and at least {MIN_LABELS} are needed: set positive_threshold and "
            "negative_threshold, or calibrate on another split",
            code="RK337",
        )
    return positives, np.flatnonzero(in_split & ~positive)


def _random_pairs(dataset: Dataset, query: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """A random passage for each query, without labelled pairs, its own text and duplicates."""
    n = len(dataset.passages)
    labels = dataset.labels
    labelled = pair_keys(labels["query"].to_numpy(), labels["passage"].to_numpy(), n)
    own = own_texts(dataset)
    drawn = pair_keys(query, rng.integers(0, n, size=len(query)), n)
    known = np.concatenate([labelled, pair_keys(own.query, own.passage, n)])
    unlabelled = np.setdiff1d(drawn, known)
    return (unlabelled // n).astype(np.int32), (unlabelled % n).astype(np.int32)


def thresholds(
    scores: Floats, pairs: CalibrationPairs, calibration: CalibrationSpec
) -> tuple[float, float]:
    """The positive and negative threshold, from the scores of labelled pairs, (n,).

    See `CalibrationSpec`. The positive threshold is inf if no score is proven to be precise.
    """
    positives, negatives = np.sort(scores[pairs.positive]), np.sort(scores[~pairs.positive])
    negative_threshold = float(np.quantile(positives, 1 - calibration.recall, method="lower"))
    # For each positive's score as threshold: true-positive rate, upper bound of the false-positive
    # rate.
    tpr = 1 - np.searchsorted(positives, positives, side="left") / len(positives)
    reaching = len(negatives) - np.searchsorted(negatives, positives, side="left")
    _, fpr = wilson_interval(reaching, max(len(negatives), 1), z=ONE_SIDED)
    share = calibration.positive_share
    precise = share * tpr / (share * tpr + (1 - share) * fpr) >= calibration.precision
    positive_threshold = float(positives[np.argmax(precise)]) if precise.any() else math.inf
    if pairs.random_negatives:
        quantile = np.quantile(positives, calibration.positive_quantile, method="higher")
        positive_threshold = max(positive_threshold, float(quantile))
    return max(positive_threshold, negative_threshold), negative_threshold


def min_negatives(calibration: CalibrationSpec) -> int:
    """How many labelled negatives prove the precision, if none scores as high as a positive."""
    share, precision = calibration.positive_share, calibration.precision
    max_fpr = share * (1 - precision) / (precision * (1 - share))
    return max(math.ceil(ONE_SIDED**2 * (1 / max_fpr - 1)), 1)
