"""Checks of the `train` section."""

from __future__ import annotations

from recipekit.component import EncoderSpec
from recipekit.recipe.draft import Draft
from recipekit.stages.train.section import TrainSection

__all__ = ["check"]


def check(draft: Draft) -> None:
    """Check that the encoder can be trained."""
    default = TrainSection.model_fields["encoder"].default
    name = draft.mapping("train").get("encoder", default)
    if not isinstance(name, str) or ("encoders",) in draft.unclear:
        return
    spec = draft.components("encoders").get(name)
    if spec is not None and issubclass(spec, EncoderSpec) and spec.at is EncoderSpec.at:
        message = f"encoder '{name}' ({spec.__name__}) cannot be trained"
        draft.report(("train", "encoder"), message, "RK107")
