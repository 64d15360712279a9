"""How long a text a transformer can read."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["NO_LIMIT", "position_limit"]

NO_LIMIT = 1_000_000
"""Lengths above this are how tokenizers say that they know of no limit."""


def position_limit(model: Any) -> int:
    """How many tokens a transformer has positions for; more than `NO_LIMIT` where it does not say.

    RoBERTa and its kin count positions from `padding_idx + 1`, so that many rows of their table are never reached.
    """
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            padding = getattr(module, "padding_idx", None)
            return table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else NO_LIMIT + 1
