"""The dev evaluation: how training measures the encoder's current weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Floats, Rows
from recipekit.component import Encoder, Hits, Ranks
from recipekit.dataset import Dataset
from recipekit.evaluators.metrics import per_query_metrics, with_positives
from recipekit.own_texts import own_texts
from recipekit.recipe.metrics import parse_metric
from recipekit.records import Side
from recipekit.search.exclusion import most_excluded, without
from recipekit.search.topk import exact_top_k

__all__ = ["DevSample", "dev_metric", "dev_sample"]


@dataclass(frozen=True)
class DevSample:
    """What every dev evaluation ranks: rows of queries and, ascending, of passages."""

    queries: Rows
    passages: Rows


def dev_sample(
    dataset: Dataset, judgments: pa.Table | None, limit: int | None, seed: int
) -> DevSample:
    """Choose the dev queries that have a source positive, and the passages to rank for them.

    All passages that the sources labelled for these queries are included. Up to `limit` passages in
    all, those judged for them follow, and then a random sample of the others.
    """
    queries = with_positives(dataset.rows("dev"), dataset.labels)
    all_passages = np.arange(len(dataset.passages), dtype=np.int64)
    if limit is None or limit >= len(all_passages):
        return DevSample(queries, all_passages)
    labelled = _passages_of(dataset.labels, queries)
    judged = labelled[:0]
    if judgments is not None:
        judged = np.setdiff1d(_passages_of(judgments, queries), labelled)
    rng = np.random.default_rng([seed, len(all_passages)])
    others = np.setdiff1d(all_passages, np.concatenate([labelled, judged]), assume_unique=True)
    shuffled = np.concatenate([rng.permutation(judged), rng.permutation(others)])
    added = shuffled[: max(0, limit - len(labelled))]
    return DevSample(queries, np.sort(np.concatenate([labelled, added])))


def dev_metric(
    encoder: Encoder,
    embed: Callable[[Side, Rows], Floats],
    dataset: Dataset,
    sample: DevSample,
    metric: str,
    ranks: Ranks,
) -> Callable[[], npt.NDArray[np.floating[Any]]]:
    """Return a function that embeds both sides of the sample and computes `metric` by query.

    Args:
        encoder: The encoder that is trained.
        embed: Embeds rows of a side with its present weights.
        dataset: The collected data.
        sample: The rows of both sides.
        metric: The metric.
        ranks: The ranks that train together.
    """
    depth = min(parse_metric(metric)[1], len(sample.passages))
    own = own_texts(dataset).take(sample.queries)

    def measure() -> npt.NDArray[np.floating[Any]]:
        queries, passages = embed("query", sample.queries), embed("passage", sample.passages)
        found = exact_top_k(
            queries,
            passages,
            min(depth + most_excluded(own), len(passages)),
            similarity=encoder.similarity,
            device=ranks.device,
        )
        # Positions in the sample become rows of the data set; -1, for no hit, stays.
        rows = np.where(found.rows >= 0, sample.passages[found.rows], -1).astype(np.int32)
        hits = without(Hits(rows, found.scores), own, depth)
        return per_query_metrics(hits, sample.queries, dataset.labels, [metric])[metric]

    return measure


def _passages_of(pairs: pa.Table, queries: Rows) -> Rows:
    is_theirs = np.isin(pairs["query"].to_numpy(), queries)
    return np.unique(pairs["passage"].to_numpy()[is_theirs]).astype(np.int64)
