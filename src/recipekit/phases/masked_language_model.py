"""The phase `masked_language_model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from recipekit.component import Context, EncoderSpec, PhaseSpec

if TYPE_CHECKING:
    from recipekit.component import Phase

__all__ = ["MaskedLanguageModelSpec"]


class MaskedLanguageModelSpec(PhaseSpec):
    """Pre-train the encoder to predict masked tokens of the collected texts, without any label.

    It adapts a model to the corpus before the phases that train ranking. The checkpoint's own
    language-model head is used if it has one, else a new one over the token embeddings; neither is
    exported. Of the tokens to predict, 80 % become the mask token, 10 % another token, and 10 %
    stay, as in BERT; each epoch draws others. Static embeddings, decoders and T5 are refused, and
    so are the keys `labels`, `unjudged` and `positive_weights`.
    """

    version: ClassVar[int] = 2
    reads_labels: ClassVar[bool] = False

    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the texts."""
    texts: Literal["passages", "queries", "both"] = "passages"
    """The texts to train on. Queries are those of `splits`; passages belong to no split, so all are
    read. `sources` selects both."""
    mask_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of a text's tokens that is predicted, at least one; special tokens and the prompt never
    are."""

    @model_validator(mode="after")
    def _reads_no_labels(self) -> Self:
        for name in ("labels", "unjudged", "positive_weights"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: masked_language_model reads no labels; leave it out")
        return self

    @property
    def reads_corpus(self) -> bool:
        """Whether it trains on the passages."""
        return self.texts != "queries"

    def refuses_encoder(self, encoder: EncoderSpec) -> str:
        """Return why its encoder cannot predict masked tokens, as far as its files state it."""
        if encoder.stored_passages() is not None and self.texts != "queries":
            return "passages with passage_vectors are not encoded: set texts: queries"
        if encoder.known_mask_token() is not False:
            return ""
        return (
            "masked_language_model cannot train this encoder: it has no mask token, as decoders, "
            "T5 and static embeddings; leave the phase out"
        )

    def total_epochs(self) -> int:
        """Return the passes over the texts."""
        return self.epochs

    def planned_steps(self, queries: int, passages: int, batch_size: int) -> int:
        """Return the optimizer steps of all epochs."""
        texts = {"passages": passages, "queries": queries, "both": queries + passages}
        return -(-texts[self.texts] // batch_size) * self.epochs

    def build(self, context: Context) -> Phase:
        """Build the phase."""
        from recipekit.training.masked_language_model import MaskedLanguageModel, selected_texts

        texts = selected_texts(context.dataset, self.texts, self.splits, self.sources)
        return MaskedLanguageModel(texts, self.mask_probability, self.epochs, context)
