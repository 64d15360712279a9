"""Embeddings of texts outside the data set, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipekit.arrays import Floats
from recipekit.component import Encoder, Progress, Ranks
from recipekit.encoding.embed import embed_tokens
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.records import Side

__all__ = ["embed_texts"]


def embed_texts(
    encoder: Encoder, texts: Sequence[str], side: Side, ranks: Ranks, progress: Progress
) -> Floats:
    """Embed texts with their side's prompt, float32 (len(texts), dim).

    All ranks call this together. They share the work, and each returns all embeddings.
    """
    if not texts:
        return np.empty((0, encoder.dimension), dtype=np.float32)
    ids, truncated = encoder.tokenize(texts, side)
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    tokens = TokenizedTexts(np.concatenate(ids).astype(np.int32, copy=False), offsets, truncated)
    rows = np.arange(len(texts), dtype=np.int64)
    return embed_tokens(encoder, tokens, rows, side, ranks, progress=progress)
