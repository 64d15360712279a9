"""How long a text a transformer can read."""

from __future__ import annotations

from typing import Any

from torch import nn

from recipekit.errors import ModelError

__all__ = ["length_of", "position_limit"]

NO_LIMIT = 1_000_000
"""Lengths above this are how tokenizers say that they know of no limit."""


def position_limit(model: Any) -> int:
    """How many tokens a transformer has positions for; more than `NO_LIMIT` where it does not say.

    RoBERTa and its kin count positions from `padding_idx + 1`, so that many rows of their table are
    never reached.
    """
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            return table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else NO_LIMIT + 1


def length_of(name: str, asked: int | None, own: int | None, limit: int) -> int:
    """How many tokens a model is to read.

    Args:
        name: The model, as the recipe names it.
        asked: What the recipe asks for, if it does.
        own: What the model's own files say, if they do.
        limit: Its `position_limit`.

    Raises:
        ModelError: It is asked for more than it has positions, or nobody says a length.
    """
    if asked is None:
        length = min(own or limit, limit)
        if length > NO_LIMIT:
            raise ModelError(f"model '{name}' states no length: set `max_length`", code="RK416")
        return int(length)
    if asked > limit:
        raise ModelError(
            f"model '{name}' has {limit} positions: max_length {asked} is more than it can read",
            code="RK416",
        )
    return asked
