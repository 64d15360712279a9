"""The `margin` judge: a candidate that scores like a source positive is likely one itself."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, EncoderName, Judge, JudgeSpec

__all__ = ["MarginSpec"]


class MarginSpec(JudgeSpec):
    """Positive-aware margin filter: candidates that score near a source positive are not negatives.

    With `s` an encoder's score of a candidate (by its `similarity`, where `euclidean` and
    `manhattan` are negated distances) and `s+` its score of the source positive (see
    `reference_positive`), a candidate gets the verdict `above_margin` if

    - `relative_margin`: s > s+ - relative_margin * |s+|, that is (1 - relative_margin) * s+ for a
      positive s+;
    - `absolute_margin`: s > s+ - absolute_margin.

    If both are set, either is enough. Every other candidate is a negative. The names are those of
    sentence-transformers' `mine_hard_negatives`. Published settings:

    - NV-Retriever's TopK-PercPos (arXiv 2407.15831): relative_margin 0.05, the default;
    - NV-Retriever's TopK-MarginPos: relative_margin null, absolute_margin 0.05;
    - CDE (arXiv 2410.02525), drop s >= s+ of a surrogate: relative_margin null, absolute_margin 0
      (an exact tie is kept here);
    - Qwen3-Embedding (arXiv 2506.05176), drop s > s+ + 0.1: relative_margin null,
      absolute_margin -0.1.

    A query without a source positive is not judged. Neither is a pair that the source or an earlier
    judge called negative, unless `previous_verdicts` includes `negative`: a score filter would
    remove the near-duplicate negatives that teach most, and a judged negative is better evidence.
    """

    encoder: EncoderName
    """Which of the recipe's encoders scores: a teacher, or the student before training."""
    relative_margin: Annotated[float, Field(ge=-1, lt=1)] | None = 0.05
    """Distance below the positive's score, as a share of it. Null: not used.

    NV-Retriever's best by default.
    """
    absolute_margin: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Distance below the positive's score; a negative number allows scores above it.

    Not used by default, since the scale of scores differs between encoders.
    """
    reference_positive: Literal["lowest", "mean", "highest"] = "highest"
    """Which score counts as `s+` if a query has several source positives.

    The `lowest` (as in sentence-transformers), the `mean` or the `highest`. With many positives
    the lowest leaves hardly any negative: on nfcorpus, with half of the positives known and the 50
    best passages of all-MiniLM-L6-v2, `lowest` ignores 99 % of them, `mean` 94 %, `highest` 40 %.
    """
    above_margin: Literal["ignore", "positive"] = "ignore"
    """The verdict on a candidate that scores too near to the positive.

    Ignored by default: a high score makes relevance likely, not certain.
    """

    @model_validator(mode="after")
    def _has_a_margin(self) -> Self:
        if self.relative_margin is None and self.absolute_margin is None:
            raise ValueError(
                "relative_margin and absolute_margin are both null: set at least one of them"
            )
        return self

    def build(self, context: Context) -> Judge:
        """Make the judge; embeddings that are not in the cache are encoded now."""
        from recipekit.judges.margin_filter import MarginFilter

        queries = context.embeddings(self.encoder, "query")
        passages = context.embeddings(self.encoder, "passage")
        return MarginFilter(self, queries, passages, context.progress)
