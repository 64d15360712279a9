"""A dense float64 reference for the losses, written with torch's cross_entropy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from recipekit.component import TrainingLabels
from recipekit.losses.corpus_labels import CorpusLabels
from recipekit.query_pairs import QueryPairs
from recipekit.records import Verdict


def corpus_labels(
    verdicts: npt.NDArray[np.int8], grades: npt.NDArray[np.float32] | None = None
) -> CorpusLabels:
    """The labels of a dense (n, N) matrix of verdicts; grades weight the positives if given."""
    positive, ignored = (
        QueryPairs.from_pairs(*np.nonzero(verdicts == verdict), len(verdicts))
        for verdict in (Verdict.POSITIVE, Verdict.IGNORE)
    )
    weights = np.ones(len(positive)) if grades is None else grades[verdicts == Verdict.POSITIVE]
    return CorpusLabels.of(positive, positive.normalized(weights), ignored)


def dense_losses(
    queries: Tensor,
    matrix: Tensor,
    verdicts: npt.NDArray[np.int8],
    grades: npt.NDArray[np.float32],
    *,
    temperature: float,
    form: str,
    label_smoothing: float = 0.0,
    similarity: str = "cosine",
) -> Tensor:
    """The losses in float64: one softmax per positive, or one for all of them together."""
    losses = []
    for query, row, grade in zip(queries.double(), verdicts, grades, strict=True):
        scores = (matrix.double() @ query) / temperature
        if similarity == "euclidean":
            scores = (matrix.double() - query).square().sum(1) / (-2 * temperature)
        positives = np.flatnonzero(row == Verdict.POSITIVE).tolist()
        allowed = np.flatnonzero(row != Verdict.IGNORE).tolist()
        negatives = [j for j in allowed if j not in positives]
        loss = (query * 0).sum() + (matrix * 0).sum()
        if form == "log_marginal":
            if positives:
                loss = loss + _log_marginal(scores, positives, allowed, label_smoothing)
            losses.append(loss)
            continue
        weights = torch.tensor([float(grade[p]) for p in positives], dtype=torch.float64)
        weights = weights / weights.sum()
        for p, weight in zip(positives, weights, strict=True):
            rivals = negatives if form == "one_vs_negatives" else [j for j in allowed if j != p]
            loss = loss + weight * cross_entropy(
                scores[[p, *rivals]], torch.tensor(0), label_smoothing=label_smoothing
            )
        losses.append(loss)
    return torch.stack(losses)


def _log_marginal(
    scores: Tensor, positives: list[int], allowed: list[int], label_smoothing: float
) -> Tensor:
    log_probabilities = torch.log_softmax(scores[allowed], 0)
    marginal = torch.logsumexp(log_probabilities[[allowed.index(p) for p in positives]], 0)
    uniform = log_probabilities.mean()
    return -(1 - label_smoothing) * marginal - label_smoothing * uniform


def training_labels(
    verdicts: npt.NDArray[np.int8], grades: npt.NDArray[np.float32] | None = None
) -> TrainingLabels:
    """The labels of a dense (n, N) matrix of verdicts, as a phase has them."""
    n = len(verdicts)
    positive, ignored, negative = (
        QueryPairs.from_pairs(*np.nonzero(verdicts == verdict), n)
        for verdict in (Verdict.POSITIVE, Verdict.IGNORE, Verdict.NEGATIVE)
    )
    weights = np.ones(len(positive)) if grades is None else grades[verdicts == Verdict.POSITIVE]
    return TrainingLabels(
        queries=np.arange(n),
        positive=positive,
        weight=positive.normalized(weights),
        ignored=ignored,
        negative=negative,
        without_positive=0,
    )


def value_and_gradient(loss: Callable[[Tensor], Tensor], queries: Tensor) -> tuple[Tensor, Tensor]:
    """Per-query losses, and the gradient of their sum with a weight per query, in float64."""
    queries = queries.detach().clone().requires_grad_()
    losses = loss(queries)
    (losses.double() * torch.linspace(0.5, 1.5, len(losses))).sum().backward()
    assert queries.grad is not None
    return losses.detach().double(), queries.grad.double()


def rows_of_lengths(rows: Tensor, seed: int) -> Tensor:
    """The same rows, scaled to random lengths from 0.5 to 2."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 0.5 + 1.5 * torch.rand(len(rows), 1, generator=generator, dtype=torch.float64)
    return rows * lengths.to(rows)


def unit_rows(n: int, dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random unit vectors (n, dim)."""
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1).to(dtype)
