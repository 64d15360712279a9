"""The maximal text length of a transformer."""

from __future__ import annotations

from typing import Any

from torch import nn

from recipekit.encoding.known_length import NO_LIMIT, check_length
from recipekit.errors import ModelError

__all__ = ["UNLIMITED", "length_of", "position_limit"]

UNLIMITED = NO_LIMIT + 1
"""The length of an encoder that cuts no text."""


def position_limit(model: Any) -> int:
    """Return how many tokens a transformer has positions for; above `NO_LIMIT` if it states none.

    RoBERTa and its relatives count positions from `padding_idx + 1`, so the rows of their table
    before that are never used.
    """
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            return table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else UNLIMITED


def length_of(name: str, requested: int | None, own: int | None, limit: int) -> int:
    """Return the number of tokens after which a model's texts are cut.

    Args:
        name: The model, as the recipe names it.
        requested: The recipe's `max_length`, if it has one.
        own: The length in the model's own files, if they state one.
        limit: Its `position_limit`.

    Raises:
        ModelError: The recipe requests more than the model has positions, or no length is stated.
    """
    if requested is None:
        length = min(own or limit, limit)
        if length > NO_LIMIT:
            raise ModelError(f"model '{name}' states no length: set `max_length`", code="RK416")
        return int(length)
    check_length(name, requested, limit)
    return requested
