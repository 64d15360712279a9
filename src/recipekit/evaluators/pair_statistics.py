"""Statistics of pairs with weights, so that one call computes them in many bootstrap samples.

A weight is how often a bootstrap sample draws a pair. With all weights 1 each function returns the
ordinary statistic: scipy's `pearsonr` and `spearmanr`, and the average precision, accuracy and F1
of sentence-transformers' BinaryClassificationEvaluator.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["average_precision", "best_thresholds", "pearson", "spearman"]

Values = npt.NDArray[np.float64]


def pearson(x: Values, y: Values, weights: Values) -> Values:
    """Return the weighted correlation of x and y in each sample, (b,); 0 where one is constant.

    Args:
        x: (n,) or (b, n).
        y: (n,) or (b, n).
        weights: How often each pair counts, (b, n).
    """
    total = weights.sum(axis=1, keepdims=True)
    dx = x - (weights * x).sum(axis=1, keepdims=True) / total
    dy = y - (weights * y).sum(axis=1, keepdims=True) / total
    covariance = (weights * dx * dy).sum(axis=1)
    scale = np.sqrt((weights * dx * dx).sum(axis=1) * (weights * dy * dy).sum(axis=1))
    correlation: Values = np.divide(
        covariance, scale, out=np.zeros_like(covariance), where=scale > 0
    )
    return correlation


def spearman(x: Values, y: Values, weights: Values) -> Values:
    """Return the rank correlation of x and y in each sample, (b,); ties have their mean rank."""
    return pearson(ranks(x, weights), ranks(y, weights), weights)


def ranks(values: Values, weights: Values) -> Values:
    """Return the mean rank of each value among the drawn ones, (b, n)."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(weights[:, order], first, axis=1)
    ranks: Values = np.cumsum(sizes, axis=1) - sizes / 2 + 0.5
    return ranks[:, group]


def average_precision(scores: Values, labels: npt.NDArray[np.bool_], weights: Values) -> Values:
    """Return sum over thresholds of (recall step) * precision in each sample, (b,).

    It is scikit-learn's `average_precision_score`; 0 in a sample without a positive.
    """
    true, false, _ = _cumulated(scores, labels, weights)
    positives = true[:, -1:]
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=true + false > 0)
    steps = np.diff(true, axis=1, prepend=0.0)
    recall_steps = np.divide(steps, positives, out=np.zeros_like(true), where=positives > 0)
    return np.asarray((recall_steps * precision).sum(axis=1))


def best_thresholds(
    scores: Values, labels: npt.NDArray[np.bool_], weights: Values
) -> tuple[Values, Values, Values, Values]:
    """Return the best F1 and the best accuracy of each sample, with the thresholds that give them.

    A pair counts as positive if its score is at least the threshold, which lies halfway between two
    scores.

    Returns:
        F1, its threshold, accuracy, its threshold, each (b,).
    """
    true, false, values = _cumulated(scores, labels, weights)
    # The highest threshold makes every pair negative.
    true, false = (np.pad(column, ((0, 0), (1, 0))) for column in (true, false))
    above = np.nextafter(values[0], np.inf)
    halfway = np.concatenate([[above], (values[:-1] + values[1:]) / 2, values[-1:]])
    positives, negatives = true[:, -1:], false[:, -1:]
    f1 = np.divide(2 * true, true + false + positives, where=positives > 0, out=0 * true)
    accuracy = (true + negatives - false) / (positives + negatives)
    best_f1, best_accuracy = f1.argmax(axis=1), accuracy.argmax(axis=1)
    return f1.max(axis=1), halfway[best_f1], accuracy.max(axis=1), halfway[best_accuracy]


def _cumulated(
    scores: Values, labels: npt.NDArray[np.bool_], weights: Values
) -> tuple[Values, Values, Values]:
    """Return the positives and negatives that score at least each value, (b, u), and the values."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    drawn = weights[:, order].astype(np.float64)
    true = np.cumsum(drawn * labels[order], axis=1)[:, last]
    false = np.cumsum(drawn * ~labels[order], axis=1)[:, last]
    return true, false, ordered[last]
