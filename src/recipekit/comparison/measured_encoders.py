"""The encoders of a compared model or retriever, and its inputs on the measured data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipekit.artifacts.store import Artifact
from recipekit.component import EncoderSpec, Slot
from recipekit.stages.inputs import StageInputs

__all__ = ["MeasuredEncoders"]


@dataclass(frozen=True)
class MeasuredEncoders:
    """The encoders of a model's files or of a recipe, with the weights that a run trained."""

    slots: Mapping[str, Slot[EncoderSpec]] = field(default_factory=dict)
    """The encoders, by name."""
    trained: str | None = None
    """The one that the recipe trained, if a run did."""
    training: Artifact | None = None
    """The artifact with its trained weights."""

    def inputs(self, measured: StageInputs) -> StageInputs:
        """Return the inputs of an evaluation with these encoders.

        Args:
            measured: The inputs with the measured data set.
        """
        artifacts = dict(measured.artifacts)
        if self.training is not None:
            artifacts[self.training.stage] = self.training
        return measured.with_encoders(self.slots, self.trained, artifacts)
