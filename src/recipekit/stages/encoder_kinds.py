"""Encoders that embed texts, and encoders that score pairs: where a field needs one of them."""

from __future__ import annotations

from recipekit.component import EncoderSpec
from recipekit.recipe.draft import Draft

__all__ = ["why_of_another_kind"]


def why_of_another_kind(draft: Draft, name: str, *, scores_pairs: bool) -> str:
    """Return why a field cannot have an encoder that scores pairs, or needs one; empty if it fits.

    Args:
        draft: The recipe.
        name: The encoder that the field names.
        scores_pairs: Whether the field needs an encoder that scores pairs.
    """
    spec = draft.components("encoders").get(name)
    if spec is None or not issubclass(spec, EncoderSpec) or spec.scores_pairs == scores_pairs:
        return ""
    if scores_pairs:
        return f"encoder '{name}' embeds texts: name one that scores pairs, a cross_encoder"
    return f"encoder '{name}' scores pairs of texts and makes no vectors: name a bi_encoder"
