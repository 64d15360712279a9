"""Retrieval evaluation: several systems over the same held-out queries, with intervals and tested differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec
from recipekit.recipe.metrics import MetricName, parse_metric

if TYPE_CHECKING:
    from recipekit.evaluators.measure import RetrievalEvaluator

__all__ = ["Retrieval"]


class Retrieval(EvaluatorSpec):
    """Ranks a split's queries over the whole corpus and compares systems by nDCG, MAP, MRR, recall or precision.

    Queries without a given positive are left out. The last system (the trained one, where there is one) is compared with
    each of the others.
    """

    split: Literal["train", "dev", "test"] = "test"
    """Whose queries are searched with. What is chosen by looking at results is chosen on dev; test is for the final figures."""
    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = ("ndcg@10", "mrr@10", "recall@100")
    """What is measured, each with its cut-off; as many passages are retrieved as the largest one. The first is the main one."""
    exclude_same_id: bool = False
    """Leave out a passage whose id is the query's id, for corpora that contain the queries themselves (ArguAna, Quora)."""
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the queries behind each interval and p-value; the smallest p-value is 1 / (resamples + 1)."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How much of the bootstrap distribution an interval spans."""

    @property
    def depth(self) -> int:
        """How many passages are retrieved per query."""
        return max(parse_metric(name)[1] for name in self.metrics)

    def build(self, context: Context) -> RetrievalEvaluator:
        """Make the evaluator; rankings and per-query values go to the context's scratch folder."""
        from recipekit.evaluators.measure import RetrievalEvaluator

        return RetrievalEvaluator(self, context.dataset, context.scratch, context.progress, context.seed)
