"""What the loop is given: phases, each a loss with the labels in the form that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from recipekit.component import Loss
from recipekit.errors import RunError
from recipekit.training.labels import TrainingLabels

__all__ = ["Epoch", "RowLabels", "TrainingPhase", "epochs"]


class RowLabels(Protocol):
    """Labels as a loss over frozen passages takes them, by training query."""

    def take(self, index: torch.Tensor) -> Self:
        """Those of some queries, int64 (m,)."""

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""


@dataclass(frozen=True)
class TrainingPhase:
    """One phase of a recipe, ready to run. Nothing here knows of one loss or another, only of which
    side is frozen.

    `frozen` of the loss is "passage" for the query phase, which trains queries against all
    passages, or None for a phase over batches of both. A passage phase, which freezes the queries,
    would stand beside them in `recipekit.training.steps`.
    """

    name: str
    loss: Loss
    epochs: int
    """Passes over the training queries per cycle."""
    cycles: int
    labels: TrainingLabels
    rows: RowLabels | None = None
    """`labels` as a loss with a frozen side takes them."""
    freeze: Callable[[Path, bool], Any] | None = None
    """Encode the frozen side into a folder, or open what stands there whole, and make of it what
    the loss takes. The second argument says whether the encoder is still untrained, so that
    embeddings of it that were made before may serve."""

    def __post_init__(self) -> None:
        if self.loss.frozen not in (None, "passage"):
            raise RunError(
                f"phase '{self.name}': no phase of training freezes the side '{self.loss.frozen}'",
                code="RK634",
            )


@dataclass(frozen=True)
class Epoch:
    """One pass over the training queries, and its place in training."""

    phase: TrainingPhase
    phase_number: int
    cycle: int
    number: int
    """Which of the cycle's epochs."""

    @property
    def place(self) -> tuple[int, int, int]:
        """What its random draws are seeded with, beside the recipe's seed."""
        return self.phase_number, self.cycle, self.number


def epochs(phases: Sequence[TrainingPhase]) -> Iterator[Epoch]:
    """Every epoch of training, in order."""
    for phase_number, phase in enumerate(phases):
        for cycle in range(phase.cycles):
            for number in range(phase.epochs):
                yield Epoch(phase, phase_number, cycle, number)
