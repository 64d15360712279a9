"""Losses of sentence-transformers, as a recipe names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from recipekit.component import (
    AnyEncoderName,
    Context,
    EncoderName,
    ExampleForm,
    Loss,
    LossSpec,
    SecondEncoder,
)
from recipekit.losses import library_losses

__all__ = ["SentenceTransformersLossSpec"]


class SentenceTransformersLossSpec(LossSpec):
    """A loss of sentence-transformers by its class name, on examples from the judged data.

    Losses that are functions of embeddings are supported, with gradient caching. Their examples are
    pairs, triplets, tuples, labelled pairs or scored pairs of queries with positives and hard
    negatives; an ignored pair is in none.

    A second encoder, the guide or the teacher, embeds the training texts, or scores the training
    pairs, once before training.
    `GISTEmbedLoss` leaves out negatives of the batch that its guide scores above the positive.
    Labels take precedence: a positive or ignored passage of a query is not in another query's
    example of the batch, and a negative that a judge or a source decided is never left out, however
    high the guide scores it. The guide decides about pairs without a label: passages of other
    queries, and hard negatives of `unjudged: negative`.
    """

    loss: str
    """The name of the class, such as `MultipleNegativesRankingLoss`. Gradients are always cached:
    `CachedMultipleNegativesRankingLoss` is the same."""
    guide: EncoderName | None = Field(None, validate_default=True)
    """Which of the recipe's encoders finds false negatives for `GISTEmbedLoss`. The encoder that is
    trained can be its own guide, with its weights before training."""
    teacher: AnyEncoderName | None = Field(None, validate_default=True)
    """Which of the recipe's encoders is distilled. `MSELoss` and `EmbedDistillLoss` train the
    embedding of each text to be that of a `bi_encoder`, with its own prompts. `MarginMSELoss` and
    `DistillKLDivLoss` can take the scores of their examples from a `cross_encoder` or a
    `bi_encoder`, instead of `score_from`: the logits of the former, without an activation such as a
    sigmoid, and the similarities of the latter."""
    targets_from: Literal["each_text", "query"] = "each_text"
    """What a passage's embedding is trained to be, with a teacher. `each_text`: the teacher's
    embedding of the passage. `query`: the teacher's embedding of the query, for passages that are
    translations of their queries; the teacher reads no passage, and there are no hard negatives."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the class, such as `{scale: 20}`. Functions and metrics are written by name:
    `dot_score` for `similarity_fct`, `COSINE` for `distance_metric`. Without `similarity_fct`, the
    similarity is that of the encoder."""
    score_from: Literal["verdict", "grade", "confidence"] | None = None
    """Scores of losses that read scored pairs or tuples; by default those of the `teacher`, or else
    the verdicts. `verdict`: 1 for a positive and 0 for a
    negative. `grade`: the grade, scaled to [0, 1] from the lowest to the highest that its judge
    gave; source labels start at 0. `confidence`: the judge's confidence that the passage is a
    positive. A pair without one is left out."""

    @field_validator("loss")
    @classmethod
    def _is_supported(cls, loss: str) -> str:
        library_losses.find(loss)
        return library_losses.CACHED.get(loss, loss)

    @field_validator("guide", "teacher")
    @classmethod
    def _is_what_the_loss_needs(cls, encoder: str | None, info: ValidationInfo) -> str | None:
        if "loss" in info.data:
            loss = library_losses.find(info.data["loss"])
            if loss.distils_scores and info.field_name == "teacher":
                return encoder
            if message := _second_encoder_error(info, encoder, loss.second_encoder):
                raise ValueError(message)
        return encoder

    @field_validator("targets_from")
    @classmethod
    def _has_targets(cls, targets_from: str, info: ValidationInfo) -> str:
        loss = info.data.get("loss")
        if loss and targets_from != "each_text":
            found = library_losses.find(loss)
            if found.second_encoder != "teacher":
                lacks = (
                    "reads no embeddings of a teacher" if found.distils_scores else "has no teacher"
                )
                raise ValueError(f"{loss} {lacks}: leave it out")
        return targets_from

    @field_validator("options")
    @classmethod
    def _has_known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "loss" in info.data:
            if errors := library_losses.option_errors(info.data["loss"], options):
                raise ValidationError.from_exception_data(info.data["loss"], errors)
            if message := library_losses.combination_error(info.data["loss"], options):
                raise ValueError(message)
        return options

    @field_validator("score_from")
    @classmethod
    def _reads_scores(cls, score_from: str | None, info: ValidationInfo) -> str | None:
        loss = info.data.get("loss")
        if score_from is not None and info.data.get("teacher") is not None:
            raise ValueError("the scores are those of the teacher: leave score_from or teacher out")
        if loss and score_from not in (None, "verdict"):
            form = library_losses.find(loss).examples
            if not form.name.startswith("scored"):
                raise ValueError(f"{loss} reads {form.name}, which have no scores")
        return score_from

    @property
    def examples(self) -> ExampleForm:
        """The examples that the loss reads."""
        found = library_losses.find(self.loss)
        form = replace(found.examples, score_from=self.score_from or "verdict")
        if form.trains_margins_of is not None and self.options.get("similarity_fct") == "cos_sim":
            form = replace(form, trains_margins_of="cosine")
        if self.guide is not None:
            return replace(form, second_encoder=SecondEncoder(self.guide, "guide"))
        if self.teacher is None:
            return form
        if found.distils_scores:
            scores = SecondEncoder(self.teacher, "teacher", gives="scores")
            return replace(form, score_from="teacher", second_encoder=scores)
        projected = self.options.get("projection_dim")
        teacher = SecondEncoder(
            self.teacher,
            "teacher",
            dimension=projected or "trained",
            remedy="set options.projection_dim: {dimension}",
        )
        if self.targets_from == "query":
            return replace(form, name="pairs", second_encoder=replace(teacher, sides=("query",)))
        return replace(form, second_encoder=teacher)

    def build(self, context: Context) -> Loss:
        """Build the loss."""
        from recipekit.losses.sentence_transformers_loss import SentenceTransformersLoss

        return SentenceTransformersLoss(self.loss, self.options, context.similarity)


def _second_encoder_error(info: ValidationInfo, encoder: str | None, needed: str | None) -> str:
    """Return why the key of a second encoder must have, or must not have, a value; empty if not.

    Args:
        info: The validation of the key.
        encoder: Its value.
        needed: The key that the loss needs; None for a loss without a second encoder.
    """
    key, loss = info.field_name, info.data["loss"]
    if key == needed and encoder is None:
        return f"{loss} needs a {key}: name one of the recipe's encoders"
    if key != needed and encoder is not None:
        return f"{loss} has no {key}: leave it out"
    return ""
