"""Measured rankings, and the files that keep them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recipekit.arrays import Rows, pair_keys
from recipekit.artifacts.store import write_json
from recipekit.component import Efficiency, Hits
from recipekit.dataset import Dataset
from recipekit.evaluators.per_query_file import equal_names, write_per_query
from recipekit.report.efficiency import EFFICIENCY
from recipekit.report.recall_by_depth import RECALL_BY_DEPTH
from recipekit.tables import write_table

__all__ = ["TOP", "Ranking", "write_rankings"]

Values = npt.NDArray[np.float64]

TOP = pa.schema(
    [
        ("query", pa.int32()),
        ("system", pa.dictionary(pa.int16(), pa.string())),
        ("rank", pa.int32()),
        ("passage", pa.int32()),
        ("score", pa.float32()),
        ("positive", pa.bool_()),
    ]
)
"""The first passages of each ranking; `positive` marks source positives."""

TOP_DEPTH = 10
"""Passages of each ranking that `top.arrow` keeps."""


@dataclass(frozen=True)
class Ranking:
    """The ranking of every query by a system, or by a variant of one, with its metrics."""

    system: str
    hits: Hits
    values: Values
    """Each query's metrics, (n, M)."""
    efficiency: Efficiency
    variant_of: str | None = None
    """The system that it is a variant of."""
    variant: Literal["", "compression", "rerank"] = ""
    costs: Mapping[str, Any] = field(default_factory=dict)
    """What a variant costs in addition, by name."""
    recall: Mapping[int, float] = field(default_factory=dict)
    """The mean recall of a system by depth."""


def write_rankings(
    folder: Path,
    dataset: Dataset,
    queries: Rows,
    metrics: Sequence[str],
    rankings: Sequence[Ranking],
) -> None:
    """Write the files of a retrieval evaluation into a folder."""
    names = [ranking.system for ranking in rankings]
    tops = (
        _top(equal_names(names, number), dataset, queries, ranking.hits)
        for number, ranking in enumerate(rankings)
    )
    write_table(folder / "top.arrow", TOP, tops)
    write_per_query(folder, queries, metrics, {each.system: each.values for each in rankings})
    write_json(folder / EFFICIENCY, {ranking.system: _costs(ranking) for ranking in rankings})
    recall = {
        ranking.system: {str(depth): round(value, 4) for depth, value in ranking.recall.items()}
        for ranking in rankings
        if ranking.recall
    }
    write_json(folder / RECALL_BY_DEPTH, recall)


def _costs(ranking: Ranking) -> dict[str, Any]:
    known = ranking.efficiency.known()
    if ranking.variant_of is not None:
        known |= {"variant_of": ranking.variant_of, "variant": ranking.variant}
    return {**known, **ranking.costs}


def _top(
    system: Callable[[int], pa.Array], dataset: Dataset, queries: Rows, hits: Hits
) -> pa.RecordBatch:
    rows, scores = hits.rows[:, :TOP_DEPTH], hits.scores[:, :TOP_DEPTH]
    exists = rows >= 0
    ranks = np.arange(1, rows.shape[1] + 1, dtype=np.int32)
    query = np.broadcast_to(queries[:, None], rows.shape)[exists].astype(np.int32)
    rank = np.broadcast_to(ranks, rows.shape)[exists]
    passage = rows[exists].astype(np.int32)
    positives, n_passages = dataset.positives, len(dataset.passages)
    known = pair_keys(positives["query"].to_numpy(), positives["passage"].to_numpy(), n_passages)
    positive = np.isin(pair_keys(query, passage, n_passages), known)
    score = scores[exists].astype(np.float32)
    columns = [query, system(len(query)), rank, passage, score, positive]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=TOP)
