"""Embeddings of texts outside the data set, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipekit.arrays import Floats
from recipekit.component import Encoder, Progress, Ranks, TakesPrompts
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import ComponentError
from recipekit.records import Side

__all__ = ["embed_texts"]


def embed_texts(
    encoder: Encoder,
    texts: Sequence[str],
    side: Side,
    ranks: Ranks,
    progress: Progress,
    *,
    prompt: str | None = None,
) -> Floats:
    """Embed texts, float32 (len(texts), dim).

    All ranks call this together. They share the work, and each returns all embeddings.

    Args:
        encoder: The encoder.
        texts: The texts.
        side: The tower that encodes.
        ranks: The processes that call this together.
        progress: Where the work is shown.
        prompt: The text that is prepended to each; by default the side's own.

    Raises:
        ComponentError: The encoder takes no other prompt than its side's.
    """
    if not texts:
        return np.empty((0, encoder.dimension), dtype=np.float32)
    if prompt is not None:
        with _prompting(encoder).prompted(side, prompt):
            return embed_texts(encoder, texts, side, ranks, progress)
    ids, truncated = encoder.tokenize(texts, side)
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    tokens = TokenizedTexts(np.concatenate(ids).astype(np.int32, copy=False), offsets, truncated)
    rows = np.arange(len(texts), dtype=np.int64)
    return embed_tokens(encoder, tokens, rows, side, ranks, progress=progress)


def _prompting(encoder: Encoder) -> TakesPrompts:
    if not isinstance(encoder, TakesPrompts):
        raise ComponentError(
            f"the encoder {type(encoder).__name__} embeds texts after its own prompts alone: "
            "remove `prompts` of the evaluator, or give the encoder the members of `TakesPrompts`",
            code="RK206",
        )
    return encoder
