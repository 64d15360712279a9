"""Padding for tokenizers that come without a padding token, as those of decoders do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

import torch

__all__ = ["give_padding_token", "takes_positions"]

ADDED = "[PAD]"


def give_padding_token(
    name: str,
    tokenizer: Any,
    model: Any,
    inform: Callable[[str], None],
    *,
    used: Collection[int] = (),
) -> None:
    """Give a tokenizer a padding token if it has none: its end-of-text token, or an added one.

    Padded positions are masked, so the token does not change any result.

    Args:
        name: The model, as the recipe names it.
        tokenizer: Its tokenizer, changed in place.
        model: The transformer, whose embeddings grow with an added token.
        inform: Shows one line to the user.
        used: Tokens that must not be chosen, because they mark the end of a text.
    """
    if tokenizer.pad_token_id is not None:
        # Some tokenizers add a padding token of their own that the model has no embedding for.
        _grow(model, tokenizer.pad_token_id + 1)
        return
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in used:
        tokenizer.pad_token = tokenizer.eos_token
    else:
        tokenizer.add_special_tokens({"pad_token": ADDED})
        _grow(model, len(tokenizer))
    inform(
        f"the tokenizer of model '{name}' has no padding token, so '{tokenizer.pad_token}' is used"
    )


def _grow(model: Any, count: int) -> None:
    """Add rows of zeros to a model's token embeddings, if it has fewer than `count`."""
    known = model.get_input_embeddings().num_embeddings
    if count <= known:
        return
    # transformers draws the new rows at random, which would make runs differ.
    model.resize_token_embeddings(count, mean_resizing=False)
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if table is not None:
            with torch.no_grad():
                table.weight[known:] = 0


def takes_positions(model: Any) -> bool:
    """Return whether a transformer takes `position_ids` that count a text's tokens from 0.

    With padding on the left, such a model would otherwise count from the first padded position,
    so that an embedding depends on the batch. RoBERTa and its relatives count real tokens
    themselves, and from another number.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    counts_itself = (
        hasattr(module, "create_position_ids_from_input_ids") for module in model.modules()
    )
    return not any(counts_itself)
