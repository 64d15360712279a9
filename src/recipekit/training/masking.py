"""Masks tokens as BERT does (arXiv 1810.04805).

Of the tokens to predict, 80 % become the mask token, 10 % another token, and 10 % stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recipekit.arrays import Ints, Rows
from recipekit.component import Vocabulary

__all__ = ["MaskedText", "count_masked", "mask_text"]

MASKED, REPLACED = 0.8, 0.1
"""Shares of the tokens to predict that become the mask token, or another token."""


@dataclass(frozen=True)
class MaskedText:
    """A text with the tokens to predict."""

    ids: Ints
    """The altered token ids, (t,)."""
    positions: Rows
    """Positions of the tokens to predict, ascending, (m,)."""
    tokens: Ints
    """The tokens that were there, (m,)."""


def mask_text(
    ids: Ints, vocabulary: Vocabulary, probability: float, seed: Sequence[int]
) -> MaskedText:
    """Choose tokens to predict, and alter them.

    Args:
        ids: The token ids of a text, (t,).
        vocabulary: The tokens that are never chosen, and those that replace others.
        probability: The share of the other tokens that is chosen.
        seed: Determines all choices.
    """
    rng = np.random.default_rng(seed)
    allowed = _maskable(ids, vocabulary)
    count = _count(len(allowed), probability)
    positions = np.sort(rng.choice(allowed, size=count, replace=False))
    altered = ids.copy()
    fate = rng.random(count)
    altered[positions[fate < MASKED]] = vocabulary.mask_token
    replaced = positions[(fate >= MASKED) & (fate < MASKED + REPLACED)]
    altered[replaced] = rng.choice(vocabulary.replacements, size=len(replaced))
    return MaskedText(altered, positions, ids[positions])


def count_masked(ids: Ints, vocabulary: Vocabulary, probability: float) -> int:
    """Return how many tokens `mask_text` chooses in a text, which does not depend on the seed."""
    return _count(len(_maskable(ids, vocabulary)), probability)


def _maskable(ids: Ints, vocabulary: Vocabulary) -> Rows:
    """Return the positions that may be chosen."""
    is_special = np.isin(ids, vocabulary.special)
    is_special[: vocabulary.prompt_length] = True
    return np.flatnonzero(~is_special).astype(np.int64)


def _count(maskable: int, probability: float) -> int:
    """Return how many of a text's tokens are chosen: at least one, as in BERT."""
    return min(maskable, max(1, round(probability * maskable)))
