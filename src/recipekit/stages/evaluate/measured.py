"""The queries that an evaluation searches with."""

from __future__ import annotations

import numpy as np

from recipekit.arrays import Rows
from recipekit.dataset import Dataset
from recipekit.stages.evaluate.section import EvaluateSection

__all__ = ["measured_count", "measured_queries"]


def measured_queries(section: EvaluateSection, dataset: Dataset) -> Rows | None:
    """Return the rows of the queries that the evaluators search with; None for all.

    Raises:
        DataError: An evaluator finds nothing to measure on.
    """
    specs = [slot.spec for slot in section.evaluators.values() if not slot.spec.reads_texts]
    found = [spec.measured_queries(dataset) for spec in specs]
    rows = [np.empty(0, np.int64), *(one for one in found if one is not None)]
    return np.unique(np.concatenate(rows)) if len(rows) == len(found) + 1 else None


def measured_count(section: EvaluateSection, dataset: Dataset) -> int | None:
    """Return how many queries the evaluators search with; None for all."""
    rows = measured_queries(section, dataset)
    return None if rows is None else len(rows)
