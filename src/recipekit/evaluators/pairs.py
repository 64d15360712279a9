"""The `pairs` evaluator: does similarity separate pairs of equal meaning from others?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec
from recipekit.evaluators.data_kinds import LabelledPairs
from recipekit.evaluators.pair_files import LabelledPairsFile
from recipekit.evaluators.resampling import Resampling
from recipekit.records import Side, Similarity

if TYPE_CHECKING:
    from recipekit.evaluators.text_evaluator import TextEvaluator

__all__ = ["PairsEvaluatorSpec"]


class PairsEvaluatorSpec(LabelledPairsFile, Resampling, EvaluatorSpec):
    """Separate pairs of equal meaning from other pairs by their similarity (duplicates, NLI).

    Metrics of each similarity are `ap` (average precision), `f1` and `accuracy`, the last two at
    the threshold that is best on these pairs, as in sentence-transformers'
    BinaryClassificationEvaluator. The report and `metrics.json` have the threshold. Intervals
    choose the threshold again in every bootstrap sample. `per_query.arrow` has the similarities and
    the label of each pair. Systems without an encoder are left out.
    """

    version: ClassVar[int] = 2
    reads_texts: ClassVar[bool] = True

    similarities: Annotated[tuple[Similarity, ...], Field(min_length=1)] = ("cosine",)
    """How vectors are compared, the main one first. Distances are negated."""
    sides: tuple[Side, Side] = ("query", "query")
    """The side of the encoder, with its prompt, that embeds each text of a pair."""

    def build(self, context: Context) -> TextEvaluator[LabelledPairs]:
        """Make the evaluator."""
        from recipekit.evaluators.item_statistics import (
            LABEL,
            LABELLED_METRICS,
            similarity_column,
        )
        from recipekit.evaluators.text_evaluator import TextEvaluator
        from recipekit.evaluators.text_measures import measure_pairs

        return TextEvaluator(
            context,
            self,
            metrics=[f"{m}_{s}" for s in self.similarities for m in LABELLED_METRICS],
            item="pair",
            read=partial(self.read, context.scratch, context.progress.warn),
            measure=partial(measure_pairs, similarities=self.similarities, sides=self.sides),
            kept=[*map(similarity_column, self.similarities), LABEL],
        )
