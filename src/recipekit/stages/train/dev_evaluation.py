"""The dev evaluation: what training asks, as it goes, of the encoder as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recipekit.arrays import Rows
from recipekit.component import Hits, Ranks
from recipekit.dataset import Dataset
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.evaluators.metrics import per_query_metrics, with_positives
from recipekit.recipe.metrics import parse_metric
from recipekit.records import Side
from recipekit.search.topk import exact_top_k

__all__ = ["DevSample", "dev_evaluation", "dev_sample"]


@dataclass(frozen=True)
class DevSample:
    """What a dev evaluation ranks, the same at every evaluation: rows of queries and, ascending, of
    passages.
    """

    queries: Rows
    passages: Rows


def dev_sample(
    dataset: Dataset, judgments: pa.Table | None, limit: int | None, seed: int
) -> DevSample:
    """The dev queries that have a source positive, and the passages that they are ranked against.

    All passages that the sources labelled for them come first, however many; then, up to `limit`
    passages in all, those judged for them, and a random sample of the others.
    """
    queries = with_positives(dataset.rows("dev"), dataset.labels)
    everything = np.arange(len(dataset.passages), dtype=np.int64)
    if limit is None or limit >= len(everything):
        return DevSample(queries, everything)
    own = _passages_of(dataset.labels, queries)
    judged = (
        np.setdiff1d(_passages_of(judgments, queries), own) if judgments is not None else own[:0]
    )
    rng = np.random.default_rng([seed, len(everything)])
    others = np.setdiff1d(everything, np.concatenate([own, judged]), assume_unique=True)
    more = np.concatenate([rng.permutation(judged), rng.permutation(others)])[
        : max(0, limit - len(own))
    ]
    return DevSample(queries, np.sort(np.concatenate([own, more])))


def dev_evaluation(
    encoder: Any,
    tokens: Mapping[Side, TokenizedTexts],
    dataset: Dataset,
    sample: DevSample,
    metric: str,
    ranks: Ranks,
) -> Callable[[], float]:
    """A callable that embeds both sides of the sample anew and gives the mean of `metric` over its
    queries.
    """

    def embed(side: Side, rows: Rows) -> Any:
        return embed_tokens(encoder, tokens[side], rows, side, ranks)

    def evaluate() -> float:
        queries, passages = embed("query", sample.queries), embed("passage", sample.passages)
        found = exact_top_k(queries, passages, parse_metric(metric)[1], device=ranks.device)
        # Positions in the sample to rows of the data set; -1, which says that there is no hit,
        # stays.
        rows = np.where(found.rows >= 0, sample.passages[found.rows], -1).astype(np.int32)
        values = per_query_metrics(
            Hits(rows, found.scores), sample.queries, dataset.labels, [metric]
        )[metric]
        return float(values.mean())

    return evaluate


def _passages_of(pairs: pa.Table, queries: Rows) -> Rows:
    of_them = np.isin(pairs["query"].to_numpy(), queries)
    return np.unique(pairs["passage"].to_numpy()[of_them]).astype(np.int64)
