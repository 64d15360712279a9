"""The `cross_encoder` judge: thresholds on the score of a model that reads both texts together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipekit.component import Context, Judge, JudgeSpec
from recipekit.encoding.named_cross_encoder import NamedCrossEncoder

if TYPE_CHECKING:
    from recipekit.dataset import Dataset

__all__ = ["MIN_LABELS", "CalibrationSpec", "CrossEncoderSpec"]

MIN_LABELS: Final = 20
"""Fewest labelled positives for quantiles; with fewer labelled negatives, random ones are used."""
Score = Annotated[float, Field(allow_inf_nan=False)]


class CalibrationSpec(BaseModel):
    """How thresholds are derived from labelled pairs.

    The pairs are the labels of the queries of `split`: a sample of at most `max_pairs_per_label`
    positives and as many judged negatives.

    - `negative_threshold` is the score that the share `recall` of the labelled positives reaches.
    - `positive_threshold` is the lowest score from which the labelled pairs prove `precision`, if
      the share `positive_share` of the candidates is relevant. With TPR the share of the labelled
      positives that reach the score, and U an upper bound of the false-positive rate:
      positive_share * TPR / (positive_share * TPR + (1 - positive_share) * U) >= precision. It is
      never below `negative_threshold`.

    U is the upper end of the one-sided 95 % Wilson interval (1927): if k of n labelled negatives
    reach the score, p = k / n and z = 1.645, U = (p + z²/2n + z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    Few negatives prove little: even with k = 0, U = z² / (n + z²), so that a precision of 0.9 at a
    share of 0.1 takes 217 of them. With fewer, no candidate is positive.

    If fewer than 20 negatives are labelled, random passages are used instead. They are easier than
    retrieved ones, so `positive_threshold` is then also at least the `positive_quantile` of the
    labelled positives.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    precision: float = Field(default=0.9, gt=0, lt=1)
    """Least share of relevant passages among the positives.

    No number of labelled pairs can prove that it is 1.
    """
    recall: float = Field(default=0.95, gt=0, le=1)
    """Share of the labelled positives that must not become negatives."""
    positive_share: float = Field(default=0.1, gt=0, lt=1)
    """Assumed share of relevant candidates; a smaller one raises `positive_threshold`."""
    positive_quantile: float = Field(default=0.5, ge=0, lt=1)
    """Least share of labelled positives below `positive_threshold`, if negatives are random."""
    split: Literal["train", "dev"] = "dev"
    """Whose labels are used.

    The labels of mined queries (`mine.splits`, by default train) also measure the judge. With
    thresholds derived from the same labels it would look better than it is.
    """
    max_pairs_per_label: int = Field(default=1000, ge=MIN_LABELS)
    """Most labelled positives to score, and most negatives."""


class CrossEncoderSpec(NamedCrossEncoder, JudgeSpec):
    """A sentence-transformers CrossEncoder, with thresholds on its score.

    A score of at least `positive_threshold` is a positive, one below `negative_threshold` a
    negative, and one between them is ignored. The confidence of a verdict is its score's distance
    from the nearest threshold, so `below_confidence` passes close calls on to the next judge. The
    scores are those of `CrossEncoder.predict`, after the model's own activation: logits or
    probabilities, as the model was trained.
    """

    measured: ClassVar[bool] = True

    positive_threshold: Score | None = None
    """Lowest score of a positive."""
    negative_threshold: Score | None = None
    """Lowest score that is not a negative; if equal to `positive_threshold`, nothing is ignored."""
    calibration: CalibrationSpec | None = None
    """Derive both thresholds from labelled pairs instead: `{precision: 0.9}`."""

    @model_validator(mode="after")
    def _has_thresholds(self) -> Self:
        positive, negative = self.positive_threshold, self.negative_threshold
        both = positive is not None and negative is not None
        neither = positive is None and negative is None
        if not (neither if self.calibration is not None else both):
            raise ValueError(
                "set both positive_threshold and negative_threshold, or only calibration "
                "(`calibration: {precision: 0.9}`)"
            )
        if positive is not None and negative is not None and positive < negative:
            raise ValueError(
                f"positive_threshold {positive} is below negative_threshold {negative}: a score "
                "between them would be both"
            )
        return self

    def check(self, dataset: Dataset) -> None:
        """Check that there are enough labelled pairs for the calibration."""
        if self.calibration is not None:
            from recipekit.judges.calibration import labelled_rows

            labelled_rows(dataset, self.calibration)

    def build(self, context: Context) -> Judge:
        """Load the model onto the rank's device, and calibrate it where the spec says so."""
        from recipekit.encoding.pair_scores import load_scorer
        from recipekit.judges.cross_encoder_judge import CrossEncoderJudge, calibrate

        scorer = load_scorer(
            self,
            context.ranks.device,
            context.progress,
            trust_remote_code=context.trust_remote_code,
        )
        if self.calibration is not None:
            found = calibrate(self.calibration, scorer, context)
            return CrossEncoderJudge(scorer, context.dataset, **found)
        assert self.positive_threshold is not None and self.negative_threshold is not None
        return CrossEncoderJudge(
            scorer, context.dataset, self.positive_threshold, self.negative_threshold
        )
