"""The phase `in_batch`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, LossSpec, Phase, PhaseSpec, Slot

__all__ = ["InBatchSpec"]


class InBatchSpec(PhaseSpec):
    """Train on batches of queries, one positive each, hard negatives, and each other's passages.

    Gradient caching makes memory independent of the batch size. A query without a negative in its
    batch teaches nothing: such queries are counted and reported.
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
    negatives alone. One is the usual triplet; each further one costs one passage forward per query.
    """

    def total_epochs(self) -> int:
        """Return the passes over the training queries."""
        return self.epochs

    def build(self, context: Context) -> Phase:
        """Build the phase."""
        from recipekit.training.in_batch import InBatch

        return InBatch(self.loss.build(context), self.epochs, self.num_hard_negatives, context)
