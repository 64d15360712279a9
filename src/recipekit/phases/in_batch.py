"""The phase `in_batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, EncoderSpec, LossSpec, PhaseSpec, Slot

if TYPE_CHECKING:
    from recipekit.component import Phase

__all__ = ["InBatchSpec"]


class InBatchSpec(PhaseSpec):
    """Train on batches of queries, one positive each, hard negatives, and each other's passages.

    Gradient caching makes the memory of activations independent of the batch size. The scores of
    the batch's queries and passages are held at once, so their memory grows with its square. A
    query without a negative in its batch teaches nothing: such queries are counted and reported.
    Losses of sentence-transformers read examples instead of the whole batch: see
    `sentence_transformers`.
    """

    version: ClassVar[int] = 2
    negatives_from: ClassVar[Literal["corpus", "batch"] | None] = "batch"
    min_batch_size: ClassVar[int] = 2

    loss: Slot[LossSpec] = Slot(use="infonce")
    """The loss; its negatives come from the batch, as those of `infonce` do."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the training queries."""
    num_hard_negatives: Annotated[int, Field(ge=0)] = 1
    """Hard negatives that each query adds to the batch, if it has that many; 0 uses in-batch
    negatives only. One gives the usual triplet; each one costs the forward pass of a passage per
    query.
    """

    @property
    def needs_hard_negatives(self) -> bool:
        """Whether a query without a hard negative has no example of its loss."""
        form = self.loss.spec.examples
        if form is None or form.name == "pairs":
            return False
        return form.name != "tuples" or self.num_hard_negatives > 0

    def refuses(self, loss: LossSpec) -> str:
        """Return why the loss's examples cannot be made with this number of hard negatives."""
        form = loss.examples
        if form is None:
            return ""
        if form.name == "pairs" and self.num_hard_negatives:
            return "this loss reads pairs (query, positive): set num_hard_negatives: 0"
        least = 0 if form.name in ("pairs", "tuples") else 1
        if self.num_hard_negatives < least:
            return f"this loss reads {form.name}: set num_hard_negatives to 1 or more"
        return ""

    def refuses_encoder(self, encoder: EncoderSpec) -> str:
        """Return why it cannot train an encoder whose passages have stored vectors."""
        if encoder.stored_passages() is None:
            return ""
        return (
            "'in_batch' encodes passages, which have passage_vectors: use coordinate_ascent, which "
            "trains queries against all of them"
        )

    def total_epochs(self) -> int:
        """Return the passes over the training queries."""
        return self.epochs

    def build(self, context: Context) -> Phase:
        """Build the phase."""
        from recipekit.training.in_batch import InBatch, InBatchExamples

        loss, form = self.loss.build(context), self.loss.spec.examples
        if form is None:
            return InBatch(loss, self.epochs, self.num_hard_negatives, context)
        return InBatchExamples(loss, form, self.epochs, self.num_hard_negatives, context)
