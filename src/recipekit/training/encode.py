"""Encoding a whole side with the encoder's current weights, in the middle of training."""

from __future__ import annotations

from pathlib import Path

from recipekit.component import Embeddings, Encoder, Progress, Ranks
from recipekit.encoding.embed import embed_table, open_embeddings
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.records import Side

__all__ = ["encode_side"]


def encode_side(
    encoder: Encoder,
    tokens: TokenizedTexts,
    side: Side,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
) -> Embeddings:
    """Embed all texts of a side into `folder`, or open what a finished call left there.

    The embeddings stay on disk, so that a killed run continues against the same ones: the encoder
    has moved on since, and could not compute them again. All ranks call this together.
    """
    ranks.barrier()
    if not (folder / "embeddings.json").is_file():
        embed_table(encoder, tokens, side, folder, ranks, progress)
    return open_embeddings(folder)
