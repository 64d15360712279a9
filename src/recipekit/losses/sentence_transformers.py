"""Losses of sentence-transformers, as a recipe names them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from recipekit.component import Context, ExampleForm, Loss, LossSpec
from recipekit.losses import library_losses

__all__ = ["SentenceTransformersLossSpec"]


class SentenceTransformersLossSpec(LossSpec):
    """A loss of sentence-transformers by its class name, on examples from the judged data.

    Losses that are functions of embeddings are supported, with gradient caching. Their examples are
    pairs, triplets, tuples, labelled pairs or scored pairs of queries with positives and hard
    negatives; an ignored pair is in none.
    """

    loss: str
    """The name of the class, such as `MultipleNegativesRankingLoss`. Gradients are always cached:
    `CachedMultipleNegativesRankingLoss` is the same."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the class, such as `{scale: 20}`. Functions and metrics are written by name:
    `dot_score` for `similarity_fct`, `COSINE` for `distance_metric`. Without `similarity_fct`, the
    similarity is that of the encoder."""
    score_from: Literal["verdict", "grade", "confidence"] = "verdict"
    """Scores of losses that read scored pairs or tuples. `verdict`: 1 for a positive and 0 for a
    negative. `grade`: the grade, scaled to [0, 1] from the lowest to the highest that its judge
    gave; source labels start at 0. `confidence`: the judge's confidence that the passage is a
    positive. A pair without one is left out."""

    @field_validator("loss")
    @classmethod
    def _is_supported(cls, loss: str) -> str:
        library_losses.find(loss)
        return library_losses.CACHED.get(loss, loss)

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
    def _reads_scores(cls, score_from: str, info: ValidationInfo) -> str:
        loss = info.data.get("loss")
        if loss and score_from != "verdict":
            form = library_losses.find(loss).examples
            if not form.name.startswith("scored"):
                raise ValueError(f"{loss} reads {form.name}, which have no scores")
        return score_from

    @property
    def examples(self) -> ExampleForm:
        """The examples that the loss reads."""
        form = library_losses.find(self.loss).examples
        return ExampleForm(form.name, form.contrasts, self.score_from)

    def build(self, context: Context) -> Loss:
        """Build the loss."""
        from recipekit.losses.sentence_transformers_loss import SentenceTransformersLoss

        return SentenceTransformersLoss(self.loss, self.options, context.similarity)
