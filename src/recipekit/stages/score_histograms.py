"""How the retrievers score groups of candidates: can a threshold tell the groups apart?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Bools, Rows
from recipekit.report.blocks import Figure, Line, Point, Table
from recipekit.report.numbers import figure

__all__ = ["of_some_queries", "score_histograms"]

Values = npt.NDArray[np.float64]

MAX_QUERIES: Final = 2_000
"""Queries whose candidates are read, evenly spread over all."""
BINS: Final = 30
SCORE: Final = "score."
"""How the name of a column with a retriever's scores starts."""


def of_some_queries(candidates: pa.Table) -> pa.Table:
    """Return the candidates of at most `MAX_QUERIES` queries."""
    return candidates.take(pa.array(_rows_of_some_queries(candidates)))


def score_histograms(
    candidates: pa.Table, groups: Mapping[str, Bools], *, title: str, group: str
) -> Iterator[Figure]:
    """Yield a histogram of the scores of each retriever by group.

    Each group's shares sum to 1, so rare groups show as well as frequent ones.

    Args:
        candidates: The candidates, (n,).
        groups: Which candidates are in each group, (n,) by name.
        title: What follows the retriever's name in the title, such as `by verdict`.
        group: What a group is, in the header of the table.
    """
    for column in candidates.column_names:
        if column.startswith(SCORE):
            scores = candidates[column].to_numpy().astype(np.float64)
            by_group = {name: scores[rows & np.isfinite(scores)] for name, rows in groups.items()}
            heading = f"Scores of {column.removeprefix(SCORE)} {title}"
            if drawn := _histogram(heading, group, by_group):
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


def _histogram(title: str, group: str, scores: Mapping[str, Values]) -> Figure | None:
    """Return the histogram of one retriever; None if its scores are all the same."""
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
    table = Table([group, "pairs", "5 % are below", "median", "5 % are above"], rows)
    return Figure(title, "score", series, table, kind="histogram", y="share of pairs")
