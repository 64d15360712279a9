"""What a stage means by an encoder's name: which encoder of the recipe, with which weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipekit.artifacts.key import FileHashes, slot_identity
from recipekit.artifacts.store import Artifact
from recipekit.component import EncoderSpec, EncoderWeights, Slot
from recipekit.errors import RunError
from recipekit.recipe.sections import TRAINED

if TYPE_CHECKING:
    from recipekit.records import Side

__all__ = ["RecipeEncoders"]


@dataclass(frozen=True)
class RecipeEncoders:
    """The encoders of a recipe, with their initial or trained weights."""

    slots: Mapping[str, Slot[EncoderSpec]]
    """The encoders, by name."""
    trained: str | None
    """The one that the recipe trains, if any."""
    training: Artifact | None
    """The artifact with its trained weights, once there is one."""
    hashes: FileHashes

    def spec(self, name: str, weights: EncoderWeights | None) -> tuple[EncoderSpec, Any]:
        """Return an encoder's spec and identity.

        Args:
            name: The encoder's name in the recipe; `trained` is the one that the recipe trained.
            weights: Its weights; None where only one kind exists.

        Raises:
            RunError: It has no such weights, or several and none are chosen.
        """
        if not self.is_trained(name, weights):
            slot = self.slots[name]
            return slot.spec, slot_identity(slot, self.hashes)
        assert self.trained is not None and self.training is not None
        slot = self.slots[self.trained]
        spec = slot.spec.at(self.training.path / "encoder")
        return spec, {**slot_identity(slot, self.hashes), TRAINED: self.training.key}

    def is_trained(self, name: str, weights: EncoderWeights | None) -> bool:
        """Return whether a name and a choice of weights mean the trained weights.

        Raises:
            RunError: The encoder has no such weights, or several and none are chosen.
        """
        if name == TRAINED:
            if self.trained is None or self.training is None:
                raise RunError("this recipe trains no encoder", code="RK610")
            if weights == "initial":
                raise RunError(
                    f"'{TRAINED}' has no initial weights: name the encoder, '{self.trained}'",
                    code="RK612",
                )
            return True
        has_both = name == self.trained and self.training is not None
        if weights == "trained" and not has_both:
            raise RunError(f"encoder '{name}' has no trained weights", code="RK610")
        if weights is None and has_both:
            raise RunError(
                f"encoder '{name}' has initial and trained weights: choose them with "
                'weights="initial" or weights="trained"',
                code="RK612",
            )
        return weights == "trained"

    def is_unchanged(self, name: str, side: Side, weights: EncoderWeights | None) -> bool:
        """Return whether trained weights are meant, and those that encode a side are initial ones.

        Raises:
            RunError: As `is_trained`.
        """
        if not self.is_trained(name, weights):
            return False
        assert self.training is not None
        return side in self.training.manifest["summary"].get("unchanged_sides", [])
