"""Retrieval metrics per query, computed by pytrec_eval (trec_eval's own code)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from recipekit.recipe.metrics import parse_metric

if TYPE_CHECKING:
    import pyarrow as pa

    from recipekit.arrays import Ints, Rows
    from recipekit.component import Hits

__all__ = ["per_query_metrics", "with_positives"]

Values = npt.NDArray[np.float64]

TREC: Final = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
"""trec_eval's names; mrr@K is made from `recip_rank`, which it has without a cut-off only."""

BLOCK = 1024  # queries whose runs and qrels are Python dicts at one time
LEVELS = 10_000  # trec_eval keeps a counter per relevance level


def per_query_metrics(
    hits: Hits, query_rows: Rows, labels: pa.Table, metrics: Sequence[str]
) -> dict[str, Values]:
    """Metrics of each query's ranking.

    As trec_eval defines them: nDCG@k with linear gains and the ideal ranking cut at k; MAP@k
    divides by all positives of the query; MRR@k is 1 / rank of the first positive, or 0 beyond k;
    recall@k and precision@k divide by all positives and by k.

    The order of `hits` is the ranking, whatever its scores: trec_eval sorts by score and breaks
    ties by id, so it is given scores made from the ranks.

    Args:
        hits: The rankings, rows (n, depth), best first. A metric with a cut-off beyond depth sees
            depth passages.
        query_rows: The queries' rows in the data set, int64 (n,), in the order of `hits`.
        labels: `LABELS`; grade > 0 is a positive, anything else not. Grades count in nDCG only.
        metrics: Names such as `ndcg@10`.

    Returns:
        For each metric one value per query, float64 (n,), NaN where a query has no positive.
        trec_eval leaves such queries out of its means: so should callers (`with_positives`).
    """
    import pytrec_eval

    parsed = {name: parse_metric(name) for name in metrics}
    measures = {
        "recip_rank" if metric == "mrr" else f"{TREC[metric]}.{cut}"
        for metric, cut in parsed.values()
    }
    values = {name: np.full(len(query_rows), np.nan) for name in metrics}
    positives = _Positives(labels)
    for start in range(0, len(query_rows), BLOCK):
        block = slice(start, start + BLOCK)
        qrels = dict(positives.of(query_rows[block], first=start))
        results = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(
            _runs(hits.rows[block], qrels, first=start)
        )
        for number, result in results.items():
            for name, (metric, cut) in parsed.items():
                values[name][int(number)] = _value(result, metric, cut)
    return values


def with_positives(query_rows: Rows, labels: pa.Table) -> Rows:
    """Those of some queries that have a positive, in their order."""
    return query_rows[
        np.isin(query_rows, labels["query"].to_numpy()[labels["grade"].to_numpy() > 0])
    ]


def _value(result: dict[str, float], metric: str, cut: int) -> float:
    if metric == "mrr":
        reciprocal = result["recip_rank"]
        return reciprocal if reciprocal * cut > 1 - 1e-9 else 0.0
    return result[f"{TREC[metric]}_{cut}"]


def _runs(rows: Ints, qrels: dict[str, Any], first: int) -> dict[str, dict[str, float]]:
    """Rankings as trec_eval takes them, keyed by position: {query: {passage: score}} with falling
    scores by rank.
    """
    scores = [float(score) for score in range(rows.shape[1], 0, -1)]
    runs = {}
    for number, ranking in enumerate(rows.tolist(), first):
        if str(number) in qrels:
            # Scores stay with their ranks while missing hits, which are -1, fall out.
            runs[str(number)] = {
                str(row): score for row, score in zip(ranking, scores, strict=True) if row >= 0
            }
    return runs


class _Positives:
    """The positives of each query, found by binary search in the sorted labels."""

    def __init__(self, labels: pa.Table) -> None:
        grades = labels["grade"].to_numpy()
        positive = grades > 0
        self.query = labels["query"].to_numpy()[positive]
        self.passage = labels["passage"].to_numpy()[positive]
        self.gain = _gains(grades[positive])

    def of(self, query_rows: Rows, first: int) -> Iterator[tuple[str, dict[str, int]]]:
        """(position, {passage: gain}) of those queries that have positives; positions count from
        `first`.
        """
        wanted = query_rows.astype(self.query.dtype)
        starts = np.searchsorted(self.query, wanted, side="left")
        stops = np.searchsorted(self.query, wanted, side="right")
        for number, (start, stop) in enumerate(
            zip(starts.tolist(), stops.tolist(), strict=True), first
        ):
            if stop > start:
                passages = map(str, self.passage[start:stop].tolist())
                yield str(number), dict(zip(passages, self.gain[start:stop].tolist(), strict=True))


def _gains(grades: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Grades as the whole numbers that trec_eval wants: in thousandths, where they are no whole
    numbers.

    nDCG is a ratio of linear gains, so that scaling all of them changes nothing.
    """
    if len(grades) == 0 or (np.all(grades == np.floor(grades)) and grades.max() <= LEVELS):
        return grades.astype(np.int64)
    gains: npt.NDArray[np.int64] = np.maximum(
        np.rint(grades * min(1000, LEVELS / grades.max())), 1
    ).astype(np.int64)
    return gains
