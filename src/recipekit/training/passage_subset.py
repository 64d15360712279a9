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

    def rows_of(side: Side, rows: Rows | None) -> Rows | None:
        if side == "query":
            return rows
        return passages if rows is None else passages[rows]

    def encode(side: Side, rows: Rows | None, folder: Path) -> Embeddings:
        return training.encode(side, rows_of(side, rows), folder)

    def embed(side: Side, rows: Rows) -> Floats:
        return training.embed(side, passages[rows] if side == "passage" else rows)

    return replace(
        training,
        labels=training.labels.among(passages),
        forward=_ForwardOver(training.forward, passages),
        encode=encode,
        embed=embed,
    )


@dataclass(frozen=True)
class _ForwardOver(Forward):
    """Embeds passages by their position among some of them."""

    forward: Forward
    passages: Rows

    def __call__(self, rows: Rows, side: Side, seed: Sequence[int]) -> torch.Tensor:
        return self.forward(self._rows(rows, side), side, seed)

    def token_ids(self, rows: Rows, side: Side) -> list[Ints]:
        return self.forward.token_ids(self._rows(rows, side), side)

    def masked(
        self,
        ids: Sequence[Ints],
        masked: MaskedTokens,
        rows: Rows,
        side: Side,
        seed: Sequence[int],
    ) -> torch.Tensor:
        return self.forward.masked(ids, masked, self._rows(rows, side), side, seed)

    def passes(self, rows: Rows, side: Side) -> list[list[Rows]]:
        return self.forward.passes(self._rows(rows, side), side)

    def tokens(self, rows: Rows, side: Side) -> int:
        return self.forward.tokens(self._rows(rows, side), side)

    def _rows(self, rows: Rows, side: Side) -> Rows:
        return self.passages[rows] if side == "passage" else rows
