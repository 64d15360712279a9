"""The `bitext` evaluator: is the translation of a sentence its nearest neighbour?"""

from __future__ import annotations

from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, ClassVar

from recipekit.component import Context, EvaluatorSpec
from recipekit.evaluators.data_kinds import ParallelSentences
from recipekit.evaluators.resampling import Resampling
from recipekit.evaluators.sentence_files import ParallelSentencesFile
from recipekit.records import Similarity

if TYPE_CHECKING:
    from recipekit.evaluators.text_evaluator import TextEvaluator

__all__ = ["BitextSpec"]


class BitextSpec(ParallelSentencesFile, Resampling, EvaluatorSpec):
    """Search each sentence's translation among all sentences of the other language.

    Metrics are `accuracy` (the translation is the first hit, as in sentence-transformers'
    TranslationEvaluator), `f1` (of the assignment of sentences to translations, as in MTEB) and
    `mrr@10`: their means over all ordered language pairs, then each pair's own, such as
    `accuracy en-de`. The report shows the pairs as a table from language to language. P-values of
    the means are adjusted apart from those of the pairs. Equal texts count as one translation.
    `per_query.arrow` has the means of each sentence. Systems without an encoder are left out.
    """

    version: ClassVar[int] = 2
    reads_texts: ClassVar[bool] = True

    similarity: Similarity = "cosine"
    """How vectors are compared."""

    def build(self, context: Context) -> TextEvaluator[ParallelSentences]:
        """Make the evaluator."""
        from recipekit.evaluators.text_evaluator import TextEvaluator
        from recipekit.evaluators.text_measures import BITEXT_METRICS, measure_bitext

        pairs = ["", *(f" {a}-{b}" for a, b in permutations(self.languages, 2))]
        return TextEvaluator(
            context,
            self,
            metrics=[f"{name}{pair}" for pair in pairs for name in BITEXT_METRICS],
            item="sentence",
            read=partial(self.read, context.scratch, context.progress.warn),
            measure=partial(measure_bitext, similarity=self.similarity),
            main=len(BITEXT_METRICS),
            kept=BITEXT_METRICS,
        )
