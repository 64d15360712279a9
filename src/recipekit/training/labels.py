"""What training knows of (query, passage) pairs: positives, ignored pairs and hard negatives, of
the train queries only.

The judgments' word stands before the sources' own labels. A pair that was retrieved but not judged
is ignored or a negative, as the recipe says; every pair that is not named here is a negative.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Floats, Ints, Rows, lookup_sorted, pair_keys
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.records import Verdict

__all__ = ["QueryPairs", "TrainingLabels", "training_labels"]


@dataclass(frozen=True)
class QueryPairs:
    """Pairs sorted by query, addressed by query in time that does not depend on how many there are.

    query: index among the training queries, int32 (m,), ascending. passage: row in the data set,
        int32 (m,). offsets:
    int64 (n_queries + 1,), where each query's pairs begin.
    """

    query: Ints
    passage: Ints
    offsets: Rows

    @classmethod
    def sorted_by_query(cls, query: Ints, passage: Ints, n_queries: int) -> QueryPairs:
        """Pairs whose queries are ascending already."""
        return cls(
            query, passage, np.searchsorted(query, np.arange(n_queries + 1)).astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self.query)

    def of(self, queries: Rows) -> tuple[Rows, Rows]:
        """The pairs of some queries: the position in `queries` of each, and its position among all
        pairs.
        """
        counts = self.offsets[queries + 1] - self.offsets[queries]
        local = np.repeat(np.arange(len(queries)), counts)
        starts = np.cumsum(counts) - counts
        return local, np.arange(len(local)) + (self.offsets[queries] - starts)[local]


@dataclass(frozen=True)
class TrainingLabels:
    """The labelled pairs of the train queries that have a positive; queries are numbered 0..n-1 in
    the order of `queries`.
    """

    queries: Rows
    """Their rows in the data set, ascending, int64 (n,)."""
    positive: QueryPairs
    weight: Floats
    """Weight of each positive; a query's weights sum to 1."""
    ignored: QueryPairs
    negative: QueryPairs
    """Hard negatives, each query's best ranked first."""
    without_positive: int
    """Train queries that were left out, for they have no positive."""

    def counts(self) -> dict[str, int]:
        """What the summary shows."""
        return {
            "queries": len(self.queries),
            "queries_without_positive": self.without_positive,
            "positives": len(self.positive),
            "ignored": len(self.ignored),
            "hard_negatives": len(self.negative),
        }


@dataclass(frozen=True)
class _Known:
    """Pairs with a verdict, sorted by key. grade is NaN where there is none."""

    key: Rows
    verdict: npt.NDArray[np.int8]
    grade: Floats


def training_labels(
    dataset: Dataset,
    *,
    candidates: pa.Table | None = None,
    judgments: pa.Table | None = None,
    unjudged: Literal["ignore", "negative"] = "ignore",
    weights: Literal["uniform", "grade"] = "uniform",
) -> TrainingLabels:
    """Gather what is known of the train queries.

    Args:
        dataset: The collected data; its labels count where no judgment says otherwise, a grade of 0
            or less as a negative.
        candidates: What was mined, as `CANDIDATES`, or None.
        judgments: What was judged, as `JUDGMENTS`, or None.
        unjudged: What a candidate without a verdict is.
        weights: A query's positives count the same, or in proportion to their grades (1 where there
            is none).

    Raises:
        RunError: No train query has a positive.
    """
    n_passages, train = len(dataset.passages), dataset.rows("train")
    known = _known(dataset, judgments, train)
    found_key, found_score = _candidates(candidates, train, len(dataset.queries), n_passages)
    unknown = found_key[~np.isin(found_key, known.key)]
    is_positive = known.verdict == Verdict.POSITIVE
    queries = np.unique(known.key[is_positive] // n_passages).astype(np.int64)
    if len(queries) == 0:
        raise RunError(
            f"none of the {len(train):,} train queries has a positive passage: there is nothing to train on",
            code="RK631",
        )
    number = np.full(len(dataset.queries), -1, dtype=np.int32)
    number[queries] = np.arange(len(queries), dtype=np.int32)

    def pairs(keys: Rows) -> QueryPairs:
        keys = keys[number[keys // n_passages] >= 0]
        return QueryPairs.sorted_by_query(
            number[keys // n_passages], (keys % n_passages).astype(np.int32), len(queries)
        )

    ignored, negative = (
        known.key[known.verdict == Verdict.IGNORE],
        known.key[known.verdict == Verdict.NEGATIVE],
    )
    if unjudged == "ignore":
        ignored = np.union1d(ignored, unknown)
    else:
        negative = np.union1d(negative, unknown)
    positive = pairs(known.key[is_positive])
    return TrainingLabels(
        queries=queries,
        positive=positive,
        weight=_weights(positive, known.grade[is_positive], weights),
        ignored=pairs(ignored),
        negative=pairs(_hardest_first(negative, found_key, found_score, n_passages)),
        without_positive=len(train) - len(queries),
    )


def _known(dataset: Dataset, judgments: pa.Table | None, train: Rows) -> _Known:
    """Judgments and, where they are silent, given labels; of the train queries, sorted by key."""
    tables = list(_verdicts(dataset, judgments, train))
    # The judgments come first, and of equal keys np.unique keeps the first.
    keys, first = np.unique(np.concatenate([table.key for table in tables]), return_index=True)
    verdict = np.concatenate([table.verdict for table in tables])[first]
    grade = np.concatenate([table.grade for table in tables])[first]
    return _Known(keys, verdict, grade)


def _verdicts(dataset: Dataset, judgments: pa.Table | None, train: Rows) -> Iterator[_Known]:
    n_passages, n_queries = len(dataset.passages), len(dataset.queries)
    if judgments is not None:
        query = judgments["query"].to_numpy()
        rows = _among(query, train, n_queries)
        grade = judgments["grade"].to_numpy().astype(np.float32)[rows]
        yield _Known(
            pair_keys(query[rows], judgments["passage"].to_numpy()[rows], n_passages),
            judgments["verdict"].to_numpy()[rows],
            grade,
        )
    query = dataset.labels["query"].to_numpy()
    rows = _among(query, train, n_queries)
    grade = dataset.labels["grade"].to_numpy()[rows]
    verdict = np.where(grade > 0, np.int8(Verdict.POSITIVE), np.int8(Verdict.NEGATIVE))
    yield _Known(
        pair_keys(query[rows], dataset.labels["passage"].to_numpy()[rows], n_passages),
        verdict,
        grade,
    )


def _candidates(
    candidates: pa.Table | None, train: Rows, n_queries: int, n_passages: int
) -> tuple[Rows, Floats]:
    """Keys of the train queries' candidates, ascending, and their fused scores (-inf where nobody
    retrieved them).
    """
    if candidates is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    query = candidates["query"].to_numpy()
    rows = _among(query, train, n_queries)
    keys = pair_keys(query[rows], candidates["passage"].to_numpy()[rows], n_passages)
    scores = candidates["score"].to_numpy()[rows].astype(np.float32)
    order = np.argsort(keys, kind="stable")
    return keys[order], np.nan_to_num(scores, nan=-np.inf)[order]


def _among(query: npt.NDArray[Any], train: Rows, n_queries: int) -> Rows:
    is_train = np.zeros(n_queries, dtype=bool)
    is_train[train] = True
    return np.flatnonzero(is_train[query])


def _hardest_first(negative: Rows, found: Rows, score: Floats, n_passages: int) -> Rows:
    """Negatives by query, then by descending fused score; those that nobody retrieved come last."""
    rank_score = np.full(len(negative), -np.inf, dtype=np.float32)
    at, there = lookup_sorted(found, negative)
    rank_score[there] = score[at[there]]
    return negative[np.lexsort((negative, -rank_score, negative // n_passages))]


def _weights(positive: QueryPairs, grade: Floats, weights: str) -> Floats:
    raw = (
        np.ones(len(positive))
        if weights == "uniform"
        else np.where(grade > 0, grade, 1.0).astype(np.float64)
    )
    shares: Floats = (raw / np.bincount(positive.query, weights=raw)[positive.query]).astype(
        np.float32
    )
    return shares
