"""The `sts` evaluator: do similarities correlate with human scores?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec
from recipekit.evaluators.data_kinds import ScoredPairs
from recipekit.evaluators.pair_files import ScoredPairsFile
from recipekit.evaluators.resampling import Resampling
from recipekit.records import Side, Similarity

if TYPE_CHECKING:
    from recipekit.evaluators.text_evaluator import TextEvaluator

__all__ = ["StsSpec"]


class StsSpec(ScoredPairsFile, Resampling, EvaluatorSpec):
    """Correlate the similarity of two texts with a score that people gave (STS-B, SICK).

    Metrics are `spearman_cosine`, `pearson_cosine` and so on: the rank correlation and the linear
    correlation of each similarity with the scores, as sentence-transformers'
    EmbeddingSimilarityEvaluator computes them, with bootstrap intervals over the pairs.
    `per_query.arrow` has the similarities and the score of each pair. Systems without an encoder
    are left out.
    """

    version: ClassVar[int] = 2
    reads_texts: ClassVar[bool] = True

    similarities: Annotated[tuple[Similarity, ...], Field(min_length=1)] = (
        "cosine",
        "dot",
        "euclidean",
        "manhattan",
    )
    """How vectors are compared, the main one first. Distances are negated."""
    sides: tuple[Side, Side] = ("query", "query")
    """The side of the encoder, with its prompt, that embeds each text of a pair."""

    def build(self, context: Context) -> TextEvaluator[ScoredPairs]:
        """Make the evaluator."""
        from recipekit.evaluators.item_statistics import (
            SCORE,
            SCORED_METRICS,
            similarity_column,
        )
        from recipekit.evaluators.text_evaluator import TextEvaluator
        from recipekit.evaluators.text_measures import measure_sts

        return TextEvaluator(
            context,
            self,
            metrics=[f"{c}_{s}" for s in self.similarities for c in SCORED_METRICS],
            item="pair",
            read=partial(self.read, context.scratch, context.progress.warn),
            measure=partial(measure_sts, similarities=self.similarities, sides=self.sides),
            kept=[*map(similarity_column, self.similarities), SCORE],
        )
