"""The `triplets` evaluator: is an anchor closer to its positive than to its negative?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from recipekit.component import Context, EvaluatorSpec
from recipekit.evaluators.data_kinds import Triplets
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.triplets_file import TripletsFile
from recipekit.records import Side, Similarity

if TYPE_CHECKING:
    from recipekit.evaluators.text_evaluator import TextEvaluator

__all__ = ["TripletsEvaluatorSpec"]


class TripletsEvaluatorSpec(TripletsFile, Resampling, EvaluatorSpec):
    """Count the triplets whose anchor is more similar to the positive than to the negative.

    The file holds triplets, or NLI pairs with a label (`hypothesis`). `accuracy_cosine` and so on
    are the shares, as in sentence-transformers' TripletEvaluator; a tie is not correct.
    `per_query.arrow` has the values of each triplet. Systems
    without an encoder are left out.
    """

    reads_texts: ClassVar[bool] = True

    similarities: Annotated[tuple[Similarity, ...], Field(min_length=1)] = ("cosine",)
    """How vectors are compared, the main one first. Distances are negated."""
    sides: tuple[Side, Side] = ("query", "query")
    """The side of the encoder, with its prompt, that embeds anchors, and that of other texts."""

    def build(self, context: Context) -> TextEvaluator[Triplets]:
        """Make the evaluator."""
        from recipekit.evaluators.text_evaluator import TextEvaluator
        from recipekit.evaluators.text_measures import measure_triplets

        metrics = [f"accuracy_{similarity}" for similarity in self.similarities]
        return TextEvaluator(
            context,
            self,
            metrics=metrics,
            kept=metrics,
            item="triplet",
            read=partial(self.read, context.scratch, context.progress.warn),
            measure=partial(measure_triplets, similarities=self.similarities, sides=self.sides),
        )
