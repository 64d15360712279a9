"""The `reranking` evaluator: are relevant passages ranked first in a given list?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec
from recipekit.evaluators.data_kinds import RankedLists
from recipekit.evaluators.ranked_lists_file import RankedListsFile
from recipekit.evaluators.resampling import Resampling
from recipekit.recipe.metrics import MetricName
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.evaluators.text_evaluator import TextEvaluator

__all__ = ["RerankingSpec"]


class RerankingSpec(RankedListsFile, Resampling, EvaluatorSpec):
    """Rank the passages that the file lists for each query, and measure the rankings.

    Metrics are those of `retrieval`, over the listed passages instead of the corpus.
    `per_query.arrow` has the values of each query. Systems
    without an encoder are left out.
    """

    reads_texts: ClassVar[bool] = True

    metrics: Annotated[tuple[MetricName, ...], Field(min_length=1)] = (
        "map@1000",
        "mrr@10",
        "ndcg@10",
    )
    """Metrics with their cut-offs, the main one first."""
    similarity: Similarity = "cosine"
    """How vectors are compared."""

    def build(self, context: Context) -> TextEvaluator[RankedLists]:
        """Make the evaluator."""
        from recipekit.evaluators.text_evaluator import TextEvaluator
        from recipekit.evaluators.text_measures import measure_reranking

        return TextEvaluator(
            context,
            self,
            metrics=self.metrics,
            kept=self.metrics,
            item="query",
            read=partial(self.read, context.scratch, context.progress.warn),
            measure=partial(measure_reranking, metrics=self.metrics, similarity=self.similarity),
        )
