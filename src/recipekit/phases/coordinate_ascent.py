"""The phase `coordinate_ascent`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from recipekit.component import Context, LossSpec, Phase, PhaseSpec, Slot

__all__ = ["CoordinateAscentSpec"]


class CoordinateAscentSpec(PhaseSpec):
    """Train every query against all passages, frozen as a matrix that each cycle re-encodes."""

    freezes_corpus: ClassVar[bool] = True
    negatives_from: ClassVar[Literal["corpus", "batch"] | None] = "corpus"

    loss: Slot[LossSpec]
    """The loss; its negatives come from the corpus, as those of `exact_softmax` do."""
    query_epochs: Annotated[int, Field(ge=1)] = 3
    """Passes over the training queries per cycle, against the passages as frozen at its start."""
    cycles: Annotated[int, Field(ge=1)] = 1
    """How often the passages are encoded again and trained against."""

    def total_epochs(self) -> int:
        """Return the passes over the training queries."""
        return self.query_epochs * self.cycles

    def build(self, context: Context) -> Phase:
        """Build the phase."""
        from recipekit.training.coordinate_ascent import CoordinateAscent

        return CoordinateAscent(self.loss.build(context), self.query_epochs, self.cycles, context)
