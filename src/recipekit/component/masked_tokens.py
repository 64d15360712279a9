"""What an encoder provides for pre-training as a masked language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from recipekit.arrays import Ints
    from recipekit.records import Side

__all__ = ["MaskedTokens", "PredictsTokens", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one side's texts, as masking uses them."""

    mask_token: int
    special: Ints
    """Tokens that are never masked, such as those that open and close a text."""
    replacements: Ints
    """Tokens that can stand in for a masked one: all that are not special."""
    prompt_length: int
    """Tokens at the start of each text that are never masked: the prompt."""


@dataclass(frozen=True)
class MaskedTokens:
    """The tokens to predict in one batch of features."""

    positions: torch.Tensor
    """Where they are among the real tokens of the batch, text after text, int64 (m,)."""
    tokens: torch.Tensor
    """The tokens that were there, int64 (m,)."""

    def to(self, device: str) -> MaskedTokens:
        """Return the same on another device."""
        return MaskedTokens(self.positions.to(device), self.tokens.to(device))


@runtime_checkable
class PredictsTokens(Protocol):
    """An encoder that the phase `masked_language_model` can train.

    It has a head only while such a phase trains it. Called as `encoder(features, side,
    masked_tokens)`, it then returns the cross-entropy of each masked token, float32 (m,),
    differentiable, in place of embeddings.
    """

    def add_language_model_head(
        self, warn: Callable[[str], None], *, trust_remote_code: bool = False
    ) -> torch.nn.Module:
        """Add the head that predicts tokens, unless it has one, and return it.

        Raises:
            ModelError: The model cannot predict masked tokens.
        """

    def remove_language_model_head(self) -> None:
        """Remove the head, if it has one."""

    def vocabulary(self, side: Side) -> Vocabulary:
        """Return how the texts of a side are masked; it is called before anything is trained.

        Raises:
            ModelError: The model cannot predict masked tokens.
        """
