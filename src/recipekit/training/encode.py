"""Encoding a whole side with the encoder's current weights, in the middle of training."""

from __future__ import annotations

from pathlib import Path

from recipekit.arrays import Rows
from recipekit.component import Embeddings, Encoder, Progress, Ranks
from recipekit.encoding.embed import embed_table, open_embeddings
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.records import Side

__all__ = ["encode_side"]


def encode_side(
    encoder: Encoder,
    tokens: TokenizedTexts,
    side: Side,
    rows: Rows | None,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
) -> Embeddings:
    """Embed texts of a side into `folder`, or open what a finished call left there.

    `rows` are the texts to embed, and the order of the result; None embeds all.

    The embeddings stay on disk, so that a killed run continues against the same ones: the encoder
    has moved on since, and could not compute them again. All ranks call this together.
    """
    # The main rank looks for all: a file does not appear on all machines at the same time.
    if not ranks.broadcast((folder / "embeddings.json").is_file()):
        texts = tokens if rows is None else tokens.subset(rows)
        embed_table(encoder, texts, side, folder, ranks, progress)
    return open_embeddings(folder)
