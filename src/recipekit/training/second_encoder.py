"""What a second encoder, a guide or a teacher, gives for the training texts and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from recipekit.arrays import Bools, Floats, Rows, lookup_sorted, pair_keys
from recipekit.component import Context, Embeddings, SecondEncoder
from recipekit.errors import RunError
from recipekit.losses.examples import SecondEncoderBatch
from recipekit.records import Side

__all__ = ["SecondEncoderEmbeddings", "TeacherScores"]


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


@dataclass(frozen=True)
class TeacherScores:
    """A teacher's scores of the pairs that examples can have, memory-mapped.

    They are a by-product of the run, like a second encoder's embeddings.
    """

    keys: Rows
    """The key of each pair, ascending, (n,)."""
    scores: Floats
    """Its score, float32 (n,)."""
    n_passages: int
    """The number of passages in the data set."""

    @classmethod
    def of(cls, teacher: str, query: Rows, passage: Rows, context: Context) -> TeacherScores:
        """Score pairs with a teacher; all ranks call this together.

        Args:
            teacher: The name of the encoder.
            query: The query of each pair, as rows of the data set, ascending, (n,).
            passage: The passage of each pair, ascending within a query, (n,).
            context: The phase's context.
        """
        n_passages = len(context.dataset.passages)
        scores = context.pair_scores(teacher, query, passage)
        return cls(pair_keys(query, passage, n_passages), scores, n_passages)

    def of_examples(self, query: Rows, passage: Rows) -> torch.Tensor:
        """Look up the scores of examples, in the host's memory, float32 (m, k).

        Args:
            query: The query of each example, as rows of the data set, (m,).
            passage: Its passages, (m, k).
        """
        keys = pair_keys(np.repeat(query, passage.shape[1]), passage.ravel(), self.n_passages)
        at, is_here = lookup_sorted(self.keys, keys)
        assert is_here.all(), "every pair of an example was scored"
        return torch.from_numpy(np.asarray(self.scores[at]).reshape(passage.shape))
