"""The texts behind a loss or gradient that is NaN or infinite, on whichever rank they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from recipekit.arrays import Bools, Rows
from recipekit.component import Ranks
from recipekit.records import SIDES, Side
from recipekit.training.forward import EncoderForward

__all__ = ["NonFiniteTexts", "non_finite_texts"]


@dataclass(frozen=True)
class NonFiniteTexts:
    """The texts of a step to name in an error message."""

    rows: Mapping[Side, Rows]
    """Rows of the data set, without duplicates, those of the first rank first."""
    are_at_fault: bool
    """Whether their embeddings are not finite. Otherwise they are all texts of `ranks`."""
    ranks: tuple[int, ...]
    """The ranks that embedded them, ascending."""

    def describe(self, name_texts: Callable[[Mapping[Side, Rows]], str], n_ranks: int) -> str:
        """Return a part of a sentence that starts with a space.

        Args:
            name_texts: Returns the ids of texts.
            n_ranks: How many ranks train together; the part names ranks unless it is all of them.
        """
        what = "embeddings that are not finite" if self.are_at_fault else "batch"
        where = ""
        if len(self.ranks) < n_ranks:
            numbers = ", ".join(map(str, self.ranks))
            where = f" on rank {numbers}" if len(self.ranks) == 1 else f" on ranks {numbers}"
        return f"{where} ({what}: {name_texts(self.rows)})" if self.rows else where


def non_finite_texts(
    forward: EncoderForward,
    loss: torch.Tensor,
    gradient_is_finite: torch.Tensor,
    ranks: Ranks,
) -> NonFiniteTexts:
    """Find the texts to name where the loss or gradient of a step is not finite.

    They are the texts whose embeddings are not finite, on any rank. If there are none, they are all
    texts of the ranks whose own part of the loss is not finite; or else of those whose own gradient
    is not finite; or else of all ranks. All ranks call this together, and get the same.

    Args:
        forward: What has embedded the texts of the step.
        loss: This rank's part of the loss.
        gradient_is_finite: What `Ranks.sum_gradients` has returned.
        ranks: The ranks that train together.
    """
    embedded = {side: _embedded(forward, side) for side in SIDES}
    has_fault = any(not is_finite.all() for _, is_finite in embedded.values())
    own = [has_fault, not loss.isfinite(), not gradient_is_finite]
    flags = torch.tensor([own], dtype=torch.int64, device=ranks.device)
    of_ranks = torch.cat(ranks.gather(flags))  # (ranks, 3)
    causes = [column.nonzero().flatten().tolist() for column in of_ranks.T]
    named = next(filter(None, causes), list(range(ranks.count)))
    are_at_fault = bool(causes[0])

    rows: dict[Side, Rows] = {}
    for side, (own_rows, is_finite) in embedded.items():
        chosen = own_rows[~is_finite] if are_at_fault else own_rows
        parts = ranks.gather(torch.from_numpy(chosen).to(ranks.device))
        joined = torch.cat([parts[rank] for rank in named]).tolist()
        if joined:
            # Cached gradients embed the same rows twice.
            rows[side] = np.array(list(dict.fromkeys(joined)))
    return NonFiniteTexts(rows, are_at_fault, tuple(named))


def _embedded(forward: EncoderForward, side: Side) -> tuple[Rows, Bools]:
    """Return the rows that this rank has embedded, and whether each one's embedding is finite."""
    passes = forward.embedded.get(side, [])
    if not passes:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
    is_finite: Bools = torch.cat(forward.is_finite[side]).cpu().numpy()
    return np.concatenate(passes).astype(np.int64), is_finite
