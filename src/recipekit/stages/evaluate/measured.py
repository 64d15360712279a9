"""The queries that an evaluation searches with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from recipekit.arrays import Rows
from recipekit.component import EvaluatorSpec
from recipekit.dataset import Dataset
from recipekit.stages.evaluate.section import EvaluateSection

__all__ = ["measured_count", "measured_queries"]


def measured_queries(specs: Iterable[EvaluatorSpec], dataset: Dataset) -> Rows | None:
    """Return the rows of the queries that evaluators of this data set search with; None for all.

    Raises:
        DataError: An evaluator finds nothing to measure on.
    """
    found = [spec.measured_queries(dataset) for spec in specs if not spec.reads_texts]
    rows = [np.empty(0, np.int64), *(one for one in found if one is not None)]
    return np.unique(np.concatenate(rows)) if len(rows) == len(found) + 1 else None


def measured_count(section: EvaluateSection, dataset: Dataset) -> int | None:
    """Return how many queries of the recipe's own data the evaluators search with; None for all."""
    specs = [slot.spec for slot in section.evaluators.values()]
    rows = measured_queries([spec for spec in specs if spec.data_name is None], dataset)
    return None if rows is None else len(rows)
