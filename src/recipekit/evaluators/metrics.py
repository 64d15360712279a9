"""Retrieval metrics per query, computed by pytrec_eval (trec_eval's own code)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from recipekit.errors import DataError
from recipekit.query_pairs import QueryPairs
from recipekit.recipe.metrics import parse_metric
from recipekit.records import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa

    from recipekit.arrays import Ints, Rows
    from recipekit.component import Hits
    from recipekit.dataset import Dataset

__all__ = ["evaluated_queries", "per_query_metrics", "with_positives"]

Values = npt.NDArray[np.float64]
Qrels = dict[str, dict[str, int]]

TREC: Final = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
"""trec_eval's names. It has `recip_rank` without a cut-off only, so mrr@k is derived from it."""

BLOCK: Final = 1024
"""Queries whose rankings and labels are Python dicts at one time."""
MAX_GAIN: Final = 10_000
"""trec_eval keeps a counter for each relevance level."""


def per_query_metrics(
    hits: Hits, query_rows: Rows, labels: pa.Table, metrics: Sequence[str]
) -> dict[str, Values]:
    """Metrics of each query's ranking, as trec_eval defines them.

    nDCG@k has linear gains, and its ideal ranking is cut at k. MAP@k and recall@k divide by all
    positives of the query, precision@k by k. MRR@k is 1 / rank of the first positive, or 0 beyond
    k. The order of `hits` is the ranking: trec_eval sorts by score and breaks ties by id, so it
    gets scores that follow from the ranks.

    Args:
        hits: The rankings, rows (n, depth), best first. A metric with a cut-off beyond depth sees
            depth passages.
        query_rows: The queries' rows in the data set, int64 (n,), in the order of `hits`.
        labels: `LABELS`; a grade > 0 is a positive. Grades matter in nDCG only.
        metrics: Names such as `ndcg@10`.

    Returns:
        One value per query for each metric, float64 (n,); NaN for a query without a positive.
        trec_eval leaves such queries out of its means, and callers should too (`with_positives`).
    """
    import pytrec_eval

    parsed = {name: parse_metric(name) for name in metrics}
    measures = {_measure(metric, cut) for metric, cut in parsed.values()}
    values = {name: np.full(len(query_rows), np.nan) for name in metrics}
    last_query = max(query_rows.max(initial=-1), labels["query"].to_numpy().max(initial=-1))
    positives = _Positives(labels, int(last_query) + 1)
    for start in range(0, len(query_rows), BLOCK):
        block = slice(start, start + BLOCK)
        qrels = positives.qrels(query_rows[block])
        evaluator = pytrec_eval.RelevanceEvaluator(qrels, measures)
        for position, result in evaluator.evaluate(_runs(hits.rows[block], qrels)).items():
            for name, (metric, cut) in parsed.items():
                values[name][start + int(position)] = _value(result, metric, cut)
    return values


def with_positives(query_rows: Rows, labels: pa.Table) -> Rows:
    """The queries among `query_rows` that have a positive, in their order."""
    positive = labels["grade"].to_numpy() > 0
    return query_rows[np.isin(query_rows, labels["query"].to_numpy()[positive])]


def evaluated_queries(dataset: Dataset, split: str) -> Rows:
    """Return the rows of a split's queries that have a positive.

    Raises:
        DataError: There are none.
    """
    rows = with_positives(dataset.rows(split), dataset.labels)
    if len(rows) == 0:
        sizes = {name: len(with_positives(dataset.rows(name), dataset.labels)) for name in SPLITS}
        listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise DataError(
            f"split '{split}' has no query with a positive, so there is nothing to evaluate "
            f"(queries with a positive: {listed})",
            code="RK341",
        )
    return rows


def _measure(metric: str, cut: int) -> str:
    return "recip_rank" if metric == "mrr" else f"{TREC[metric]}.{cut}"


def _value(result: dict[str, float], metric: str, cut: int) -> float:
    if metric != "mrr":
        return result[f"{TREC[metric]}_{cut}"]
    reciprocal = result["recip_rank"]
    within_cut = reciprocal * cut > 1 - 1e-9
    return reciprocal if within_cut else 0.0


def _runs(rows: Ints, qrels: Qrels) -> dict[str, dict[str, float]]:
    """Rankings in trec_eval's form, {position: {passage: score}}, with scores that fall by rank."""
    scores = [float(score) for score in range(rows.shape[1], 0, -1)]
    runs = {}
    for position in qrels:
        ranked = zip(rows[int(position)].tolist(), scores, strict=True)
        runs[position] = {str(row): score for row, score in ranked if row >= 0}
    return runs


class _Positives:
    """The positives of each query, with their gains."""

    def __init__(self, labels: pa.Table, n_queries: int) -> None:
        grades = labels["grade"].to_numpy()
        positive = grades > 0
        query, passage = (labels[name].to_numpy()[positive] for name in ("query", "passage"))
        self.pairs = QueryPairs.from_sorted(query, passage, n_queries)
        self.gain = _gains(grades[positive])

    def qrels(self, query_rows: Rows) -> Qrels:
        """{position in `query_rows`: {passage: gain}} of the queries that have positives."""
        qrels: Qrels = {}
        position, at = self.pairs.of(query_rows)
        passages, gains = self.pairs.passage[at].tolist(), self.gain[at].tolist()
        for number, passage, gain in zip(position.tolist(), passages, gains, strict=True):
            qrels.setdefault(str(number), {})[str(passage)] = gain
        return qrels


def _gains(grades: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Grades as the integers that trec_eval needs; fractional grades are multiplied by 1,000.

    nDCG is a ratio of linear gains, so a common factor changes nothing.
    """
    if len(grades) == 0 or (np.all(grades == np.floor(grades)) and grades.max() <= MAX_GAIN):
        return grades.astype(np.int64)
    scaled = np.rint(grades * min(1000.0, MAX_GAIN / float(grades.max())))
    gains: npt.NDArray[np.int64] = np.maximum(scaled, 1).astype(np.int64)
    return gains
