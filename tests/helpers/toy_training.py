"""A toy encoder and toy phases, to run the training loop without texts or a recipe."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from recipekit.component import Phase, PhasePart, SingleProcess, StepResult
from recipekit.testing import RecordingProgress
from recipekit.training.loop import TrainingLoop
from recipekit.training.optimizer import OptimizerSettings
from recipekit.training.schedule import DevEvaluation, ScheduledPhase
from recipekit.training.selection import SelectionRule


class ToyEncoder(torch.nn.Module):
    """A linear map of three features to two."""

    tied = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear = torch.nn.Linear(3, 2)

    def set_dropout(self, enabled: bool) -> None:
        self.dropout = enabled

    def set_tied(self, tied: bool) -> None:
        assert tied, "it has one tower"

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear(features)


class ToyPhase(Phase):
    """Pulls the encoder toward twice its outputs at the start of the part.

    The targets are frozen in a file, as the embeddings of coordinate ascent are.
    """

    def __init__(
        self,
        encoder: ToyEncoder,
        folder: Path,
        part_steps: Sequence[int] = (4, 4),
        steps_per_epoch: int = 2,
        seed: int = 0,
    ) -> None:
        self.encoder, self.folder, self.seed = encoder, folder, seed
        self.parts = [PhasePart(steps, steps_per_epoch) for steps in part_steps]
        self.features = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
        self.frozen: torch.Tensor | None = None
        self.begun: list[int] = []
        self.steps: list[int] = []

    def begin(self, part: int) -> dict[str, float]:
        self.begun.append(part)
        file = self.folder / f"part-{part}.pt"
        self.folder.mkdir(exist_ok=True)
        for other in self.folder.iterdir():
            if other != file:
                other.unlink()
        if not file.is_file():
            with torch.no_grad():
                torch.save(2 * self.encoder(self.features) + self.seed, file)
        self.frozen = torch.load(file)
        return {}

    def gradient(self, step: int) -> StepResult:
        self.steps.append(step)
        assert self.frozen is not None
        rows = torch.randperm(8, generator=torch.Generator().manual_seed(100 * self.seed + step))[
            :3
        ]
        loss = (self.encoder(self.features[rows]) - self.frozen[rows]).square().mean()
        loss.backward()
        return StepResult(loss.detach(), tokens=3)

    def end(self) -> None:
        self.frozen = None
        for file in self.folder.iterdir() if self.folder.is_dir() else ():
            file.unlink()


def toy_loop(
    scratch: Path,
    make_phases: Callable[[ToyEncoder], Sequence[Phase]],
    *,
    settings: Sequence[OptimizerSettings] | None = None,
    progress: RecordingProgress | None = None,
    measure: Callable[[ToyEncoder], float] | None = None,
    every_epochs: float = 1.0,
    rule: SelectionRule | None = None,
) -> TrainingLoop:
    """A loop over a new toy encoder."""
    encoder = ToyEncoder()
    phases = make_phases(encoder)
    settings = settings or [OptimizerSettings(learning_rate=0.05)] * len(phases)
    names = "abcdefgh"
    scheduled = [
        ScheduledPhase(name, phase, setting)
        for name, phase, setting in zip(names, phases, settings, strict=False)
    ]
    dev = None
    if measure is not None:
        dev = DevEvaluation(
            lambda: np.atleast_1d(measure(encoder)), "toy", every_epochs, rule or SelectionRule()
        )
    return TrainingLoop(
        encoder,
        scheduled,
        ranks=SingleProcess(),
        progress=progress or RecordingProgress(),
        scratch=scratch,
        dev=dev,
    )


def are_freed(references: Sequence[weakref.ref[object]]) -> bool:
    """Whether nothing refers to the objects."""
    if any(reference() is not None for reference in references):
        gc.collect()
    return all(reference() is None for reference in references)
