"""Training over some passages of the corpus, which are numbered by their position among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from recipekit.arrays import Floats, Ints, Rows
from recipekit.component import Embeddings, Forward, MaskedTokens, TrainingContext
from recipekit.records import Side

__all__ = ["over_passages"]


def over_passages(training: TrainingContext, passages: Rows) -> TrainingContext:
    """Return the same training as if these passages were the whole corpus.

    Args:
        training: What the phase works with.
        passages: Rows of the data set, ascending, with all positives.
    """
    forward = _ForwardOver(training.forward, passages)

    def encode(side: Side, rows: Rows | None, folder: Path) -> Embeddings:
        if rows is not None:
            rows = forward.rows(rows, side)
        elif side == "passage":
            rows = passages
        return training.encode(side, rows, folder)

    def embed(side: Side, rows: Rows) -> Floats:
        return training.embed(side, forward.rows(rows, side))

    return replace(
        training,
        labels=training.labels.among(passages),
        forward=forward,
        encode=encode,
        embed=embed,
    )


@dataclass(frozen=True)
class _ForwardOver(Forward):
    """Embeds passages by their position among some of them."""

    forward: Forward
    passages: Rows

    def __call__(self, rows: Rows, side: Side, seed: Sequence[int]) -> torch.Tensor:
        return self.forward(self.rows(rows, side), side, seed)

    def token_ids(self, rows: Rows, side: Side) -> list[Ints]:
        return self.forward.token_ids(self.rows(rows, side), side)

    def masked(
        self,
        ids: Sequence[Ints],
        masked: MaskedTokens,
        rows: Rows,
        side: Side,
        seed: Sequence[int],
    ) -> torch.Tensor:
        return self.forward.masked(ids, masked, self.rows(rows, side), side, seed)

    def passes(self, rows: Rows, side: Side) -> list[list[Rows]]:
        return self.forward.passes(self.rows(rows, side), side)

    def fit_together(self, rows: Rows, side: Side, passes: Sequence[Sequence[Rows]]) -> bool:
        return self.forward.fit_together(self.rows(rows, side), side, passes)

    def tokens(self, rows: Rows, side: Side) -> int:
        return self.forward.tokens(self.rows(rows, side), side)

    def rows(self, rows: Rows, side: Side) -> Rows:
        """Return the rows of the data set."""
        return self.passages[rows] if side == "passage" else rows
