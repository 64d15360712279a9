"""Retrieval evaluation: several systems over the same held-out queries, with intervals and tested
differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec
from recipekit.errors import DataError
from recipekit.recipe.metrics import MetricName, parse_metric

if TYPE_CHECKING:
    from recipekit.arrays import Rows
    from recipekit.dataset import Dataset
    from recipekit.evaluators.measure import RetrievalEvaluator

__all__ = ["RetrievalSpec"]


class RetrievalSpec(EvaluatorSpec):
    """Ranks a split's queries over the whole corpus and compares systems by nDCG, MAP, MRR, recall
    or precision.

    Queries without a source positive are left out. The last system (the trained one, where there is
    one) is compared with each of the others.
    """

    split: Literal["train", "dev", "test"] = "test"
    """Whose queries are searched with.

    What is chosen by looking at results is chosen on dev; test is for the final figures.
    """
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = (
        "ndcg@10",
        "mrr@10",
        "recall@100",
    )
    """What is measured, each with its cut-off; as many passages are retrieved as the largest one.

    The first is the main one.
    """
    exclude_same_id: bool = False
    """Leave out a passage whose id is the query's id, for corpora that contain the queries
    themselves (ArguAna, Quora).
    """
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the queries behind each interval and p-value; the smallest p-value is
    1 / (resamples + 1).
    """
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How much of the bootstrap distribution an interval spans."""

    @property
    def depth(self) -> int:
        """How many passages are retrieved per query."""
        return max(parse_metric(name)[1] for name in self.metrics)

    def queries(self, dataset: Dataset) -> Rows:
        """Rows of the split's queries that have a source positive.

        Raises:
            DataError: There are none.
        """
        from recipekit.evaluators.metrics import with_positives
        from recipekit.records import SPLITS

        rows = with_positives(dataset.rows(self.split), dataset.labels)
        if len(rows) == 0:
            counts = {
                name: len(with_positives(dataset.rows(name), dataset.labels)) for name in SPLITS
            }
            there = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            raise DataError(
                f"no query with a positive in split '{self.split}', nothing to evaluate (queries with one: {there})",
                code="RK341",
            )
        return rows

    def check(self, dataset: Dataset) -> None:
        """Make sure that there is something to evaluate."""
        self.queries(dataset)

    def build(self, context: Context) -> RetrievalEvaluator:
        """Make the evaluator; rankings and per-query values go to the context's scratch folder."""
        from recipekit.evaluators.measure import RetrievalEvaluator

        return RetrievalEvaluator(
            self, context.dataset, context.scratch, context.progress, context.seed
        )
