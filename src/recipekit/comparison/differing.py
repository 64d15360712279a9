"""The queries that a model wins and loses most against the reference, with both rankings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.dataset import Dataset
from recipekit.report.efficiency import EFFICIENCY
from recipekit.report.numbers import excerpt
from recipekit.tables import read_table

__all__ = [
    "DifferingQuery",
    "QueryValues",
    "RankedPassage",
    "differing_queries",
    "most_changed",
    "read_costs",
    "read_values",
]

MOST: Final = 10
"""Queries that are kept of those won, and of those lost, by each model."""
SHOWN_PASSAGES: Final = 3

QueryValues = Mapping[int, float]
"""The value of every query by its row in the data set."""


@dataclass(frozen=True)
class RankedPassage:
    """One of the first passages of a ranking."""

    rank: int
    id: str
    text: str
    """Its beginning."""
    positive: bool


@dataclass(frozen=True)
class DifferingQuery:
    """A query, or an item of a file, on which two models differ."""

    evaluator: str
    metric: str
    model: str
    reference: str
    id: str
    query: str
    value: float
    reference_value: float
    passages: Sequence[RankedPassage]
    """The first passages of its ranking; none for an item of a file."""
    reference_passages: Sequence[RankedPassage]
    parts: Sequence[tuple[str, str]] = ()
    """Of an item of a file: its texts, its score or label, and similarities, with their names."""

    @property
    def difference(self) -> float:
        """The model's value minus that of the reference."""
        return self.value - self.reference_value

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "difference": self.difference}


def read_values(folder: Path, system: str, metric: str) -> dict[int, float]:
    """Return the value of every query from the files of an evaluator; empty if it kept none."""
    file = folder / "per_query.arrow"
    if not file.is_file():
        return {}
    table = read_table(file)
    chosen = pc.and_(pc.equal(table["system"], system), pc.equal(table["metric"], metric))
    rows = table.filter(chosen)
    return dict(zip(rows["query"].to_pylist(), rows["value"].to_pylist(), strict=True))


def read_costs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each system's search costs from the files of an evaluator, by system."""
    costs: dict[str, dict[str, Any]] = json.loads((folder / EFFICIENCY).read_text())
    return costs


def differing_queries(
    folder: Path,
    dataset: Dataset,
    evaluator: str,
    metric: str,
    models: Sequence[str],
    reference: str,
) -> list[DifferingQuery]:
    """Return the queries won and lost most by each model, those with the largest difference first.

    Args:
        folder: The files of an evaluator, `per_query.arrow` and `top.arrow`.
        dataset: The data set that it measured.
        evaluator: Its name.
        metric: The metric that decides.
        models: The names of the models.
        reference: The name of the reference.
    """
    before = read_values(folder, reference, metric)
    if not before:
        return []
    top = read_table(folder / "top.arrow")
    found = []
    for model in models:
        after = read_values(folder, model, metric)
        change = {query: value - before[query] for query, value in after.items()}
        for query in most_changed(change):
            found.append(
                DifferingQuery(
                    evaluator,
                    metric,
                    model,
                    reference,
                    id=dataset.queries.column("id", [query])[0],
                    query=excerpt(dataset.queries.texts([query])[0]),
                    value=after[query],
                    reference_value=before[query],
                    passages=_first(top, dataset, query, model),
                    reference_passages=_first(top, dataset, query, reference),
                )
            )
    return found


def most_changed(change: QueryValues) -> list[int]:
    """The queries won most, then those lost most."""
    finite = {query: value for query, value in change.items() if np.isfinite(value)}
    won = sorted((q for q in finite if finite[q] > 0), key=lambda q: (-finite[q], q))
    lost = sorted((q for q in finite if finite[q] < 0), key=lambda q: (finite[q], q))
    return won[:MOST] + lost[:MOST]


def _first(top: pa.Table, dataset: Dataset, query: int, system: str) -> list[RankedPassage]:
    chosen = pc.and_(pc.equal(top["query"], query), pc.equal(top["system"], system))
    rows = top.filter(pc.and_(chosen, pc.less_equal(top["rank"], SHOWN_PASSAGES))).sort_by("rank")
    passages = rows["passage"].to_pylist()
    ids, texts = dataset.passages.column("id", passages), dataset.passages.texts(passages)
    ranks, positives = rows["rank"].to_pylist(), rows["positive"].to_pylist()
    return [
        RankedPassage(rank, id, excerpt(text, 200), positive)
        for rank, id, text, positive in zip(ranks, ids, texts, positives, strict=True)
    ]
