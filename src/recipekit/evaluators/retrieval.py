"""Retrieval evaluation of several systems over the same held-out queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec, Name
from recipekit.errors import DataError
from recipekit.evaluators.resampling import Resampling
from recipekit.recipe.metrics import MetricName, parse_metric

if TYPE_CHECKING:
    from recipekit.arrays import Rows
    from recipekit.dataset import Dataset
    from recipekit.evaluators.measure import RetrievalEvaluator

__all__ = ["RetrievalSpec"]


class RetrievalSpec(Resampling, EvaluatorSpec):
    """Rank the whole corpus for each query of a split, and compare systems by retrieval metrics.

    Metrics are nDCG, MAP, MRR, recall and precision with a cut-off, as trec_eval computes them.
    Each has a bootstrap interval. The last system (the trained encoder, if there is one) is tested
    against each of the others. Queries without a source positive are left out.
    """

    version: ClassVar[int] = 2

    source: Name | None = None
    """Measure on this data set of `evaluate.sources`; by default on the recipe's own."""
    split: Literal["train", "dev", "test"] = "test"
    """The split whose queries are searched.

    Use dev for decisions that depend on the results, and test for the final figures.
    """
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = (
        "ndcg@10",
        "mrr@10",
        "recall@100",
    )
    """Metrics with their cut-offs, the main one first.

    The largest cut-off is the number of passages retrieved per query.
    """
    exclude_same_id: bool = False
    """Leave out a passage whose id equals the query's id.

    For corpora that contain the queries themselves, such as ArguAna and Quora.
    """
    exclude_own_text: bool = True
    """Leave out a passage with the query's own text, unless the pair is labelled.

    It would be the first hit of every encoder and is no answer. BEIR and MTEB leave out equal ids
    alone (`exclude_same_id`): set this to false to repeat their figures on a corpus in which other
    passages have a query's text.
    """
    bootstrap_samples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Bootstrap samples of the queries for intervals and p-values.

    The smallest possible p-value is 1 / (bootstrap_samples + 1).
    """

    @property
    def depth(self) -> int:
        """The number of passages retrieved per query."""
        return max(parse_metric(name)[1] for name in self.metrics)

    @property
    def data_name(self) -> str | None:
        """The data set that it measures."""
        return self.source

    def queries(self, dataset: Dataset) -> Rows:
        """Rows of the split's queries that have a source positive.

        Raises:
            DataError: There are none.
        """
        from recipekit.evaluators.metrics import with_positives
        from recipekit.records import SPLITS

        rows = with_positives(dataset.rows(self.split), dataset.labels)
        if len(rows) == 0:
            sizes = {
                name: len(with_positives(dataset.rows(name), dataset.labels)) for name in SPLITS
            }
            listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
            raise DataError(
                f"split '{self.split}' has no query with a positive, so there is nothing to "
                f"evaluate (queries with a positive: {listed})",
                code="RK341",
            )
        return rows

    def measured_queries(self, dataset: Dataset) -> Rows:
        """Return the queries that it measures."""
        return self.queries(dataset)

    def check(self, dataset: Dataset) -> None:
        """Make sure that the split has queries to evaluate."""
        if self.source is None:
            self.queries(dataset)

    def build(self, context: Context) -> RetrievalEvaluator:
        """Make the evaluator; it writes rankings into the context's scratch folder."""
        from recipekit.evaluators.measure import RetrievalEvaluator

        return RetrievalEvaluator(
            self, context.dataset, context.scratch, context.progress, context.seed
        )
