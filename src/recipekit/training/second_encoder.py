"""The embeddings of the training texts by a second encoder: a guide or a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from recipekit.arrays import Bools, Rows
from recipekit.component import Context, Embeddings, SecondEncoder
from recipekit.errors import RunError
from recipekit.losses.examples import SecondEncoderBatch
from recipekit.records import Side

__all__ = ["SecondEncoderEmbeddings"]


@dataclass(frozen=True)
class SecondEncoderEmbeddings:
    """Memory-mapped embeddings of each side that a loss reads.

    They are by-products of the run, like those of mining: the encoder's weights and the texts are
    their key, and a run that resumes opens them again.
    """

    sides: Mapping[Side, Embeddings]

    @classmethod
    def embed(
        cls, encoder: SecondEncoder, rows: Mapping[Side, Rows], context: Context
    ) -> SecondEncoderEmbeddings:
        """Embed the texts of the sides that a loss reads; all ranks call this together.

        Args:
            encoder: The second encoder.
            rows: The texts of each side, as rows of the data set, ascending.
            context: The phase's context.

        Raises:
            RunError: Its embeddings do not have the dimension that the loss needs.
        """
        trained = context.training.encoder.dimension
        sides: dict[Side, Embeddings] = {}
        for side in encoder.sides:
            found = context.embeddings(encoder.name, side, rows=rows[side])
            if message := encoder.refuses(int(found.matrix.shape[1]), trained):
                raise RunError(message, code="RK649")
            sides[side] = found
        return cls(sides)

    def of_batch(self, rows: Mapping[Side, Rows], decided_negatives: Bools) -> SecondEncoderBatch:
        """Look up a batch, in the host's memory.

        Args:
            rows: Queries (b,) and passages (p,), as rows of the data set.
            decided_negatives: Whether the labels decided that a passage is a query's negative,
                (b, p).
        """
        vectors = {
            side: torch.from_numpy(np.asarray(found.take(rows[side]), dtype=np.float32))
            for side, found in self.sides.items()
        }
        decided = torch.from_numpy(decided_negatives)
        return SecondEncoderBatch(vectors.get("query"), vectors.get("passage"), decided)
