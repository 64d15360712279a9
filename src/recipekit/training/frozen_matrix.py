"""The frozen side: all of its embeddings by the encoder as it stands, on disk, made by all ranks
together.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from recipekit.component import Encoder, Progress, Ranks
from recipekit.encoding.embed import embed_table, open_embeddings
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.records import Side
from recipekit.tables import TextTable

__all__ = ["frozen_matrix"]


def frozen_matrix(
    encoder: Encoder,
    table: TextTable,
    tokens: Path,
    side: Side,
    folder: Path,
    ranks: Ranks,
    progress: Progress,
) -> Any:
    """All embeddings of a side, memory-mapped (n, dim), float16 where the encoder embeds in bf16
    and else float32.

    They stay in `folder`, so that a run that was killed trains on against the same matrix: the
    encoder has moved on since, and could not make it again. Other folders beside it, earlier
    matrices, are deleted.

    Args:
        encoder: What encodes.
        table: The side's texts.
        tokens: The folder where `tokenize_table` left them tokenized.
        side: Whose tower encodes.
        folder: Where the matrix is made, or stands already.
        ranks: The processes that call this together.
        progress: Where the work is shown.
    """
    ranks.barrier()
    if not (folder / "embeddings.json").is_file():
        if ranks.is_main:
            for other in folder.parent.glob("*"):
                if other != folder:
                    shutil.rmtree(other)
        ranks.barrier()
        embed_table(
            encoder, table, side, folder, ranks, progress, tokens=TokenizedTexts.open(tokens)
        )
    return open_embeddings(folder).matrix
