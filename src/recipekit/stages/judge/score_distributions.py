"""How the retrievers score the pairs of each verdict: can a threshold tell them apart?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Rows
from recipekit.records import Verdict
from recipekit.report.blocks import Figure, Line, Point, Table
from recipekit.report.numbers import figure
from recipekit.report.run_folder import RunFolder

__all__ = ["score_figures"]

Values = npt.NDArray[np.float64]

MAX_QUERIES: Final = 2_000
"""Queries whose candidates are read, evenly spread over all."""
BINS: Final = 30
NAMES: Final = {
    Verdict.POSITIVE: "positive",
    Verdict.NEGATIVE: "negative",
    Verdict.IGNORE: "ignored",
}


def score_figures(run: RunFolder) -> Iterator[Figure]:
    """A histogram of the scores of each retriever by final verdict, source labels included.

    Each verdict's shares sum to 1, so rare verdicts show as well as frequent ones.
    """
    judgments = run.table("judge", "judgments.arrow")
    candidates = run.table("mine", "candidates.arrow")
    if judgments is None or candidates is None:
        return
    candidates = candidates.take(pa.array(_rows_of_some_queries(candidates)))
    verdicts = _verdicts(candidates, judgments)
    for column in candidates.column_names:
        if column.startswith("score."):
            scores = candidates[column].to_numpy().astype(np.float64)
            by_verdict = {
                name: scores[(verdicts == verdict) & np.isfinite(scores)]
                for verdict, name in NAMES.items()
            }
            if drawn := _figure(column.removeprefix("score."), by_verdict):
                yield drawn


def _rows_of_some_queries(table: pa.Table) -> Rows:
    """The rows of at most `MAX_QUERIES` queries; the table is sorted by query."""
    queries = table["query"].to_numpy()
    starts = np.flatnonzero(np.diff(queries, prepend=-1))
    stops = np.append(starts[1:], len(queries))
    count = min(len(starts), MAX_QUERIES)
    chosen = np.linspace(0, max(len(starts) - 1, 0), count).round().astype(np.int64)
    parts = [np.arange(starts[at], stops[at]) for at in chosen]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _verdicts(candidates: pa.Table, judgments: pa.Table) -> npt.NDArray[np.int8]:
    """The verdict of each candidate; UNJUDGED for those without a row in the judgments."""
    queries = candidates["query"].to_numpy()
    judged_queries = judgments["query"].to_numpy()
    wanted = np.flatnonzero(np.isin(judged_queries, np.unique(queries)))
    judged = judgments.select(["query", "passage", "verdict"]).take(pa.array(wanted))
    keys = _keys(judged)
    found = np.full(len(queries), Verdict.UNJUDGED, dtype=np.int8)
    if not len(keys):
        return found
    wanted_keys = _keys(candidates)
    places = np.minimum(np.searchsorted(keys, wanted_keys), len(keys) - 1)
    hits = keys[places] == wanted_keys
    found[hits] = judged["verdict"].to_numpy()[places[hits]]
    return found


def _keys(pairs: pa.Table) -> npt.NDArray[np.int64]:
    """One number for each (query, passage), in the order of the pairs."""
    queries, passages = (pairs[side].to_numpy().astype(np.int64) for side in ("query", "passage"))
    keys: npt.NDArray[np.int64] = (queries << 32) | passages
    return keys


def _figure(retriever: str, scores: Mapping[str, Values]) -> Figure | None:
    """The histogram of one retriever; None if its scores are all the same."""
    known = {name: values for name, values in scores.items() if len(values)}
    together = np.concatenate(list(known.values())) if known else np.empty(0)
    if not len(together) or together.min() == together.max():
        return None
    edges = np.linspace(together.min(), together.max(), BINS + 1)
    series: dict[str, list[Point]] = {}
    rows: list[list[Line]] = []
    for name, values in known.items():
        shares = np.histogram(values, edges)[0] / len(values)
        series[name] = [*zip(edges[:-1].tolist(), shares.tolist(), strict=True)]
        series[name].append((float(edges[-1]), 0.0))
        low, median, high = np.quantile(values, [0.05, 0.5, 0.95]).tolist()
        quantiles = [f"{value:.4g}" for value in (low, median, high)]
        rows.append([name, figure(len(values)), *quantiles])
    title = f"Scores of {retriever} by verdict"
    table = Table(["verdict", "pairs", "5 % are below", "median", "5 % are above"], rows)
    return Figure(title, "score", series, table, kind="histogram", y="share of pairs")
