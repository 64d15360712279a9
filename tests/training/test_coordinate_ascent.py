"""Coordinate ascent lowers the exact loss, and the main rank decides what all must agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.dense_reference import dense_losses, training_labels, unit_rows
from helpers.ranks import FakeRanks
from helpers.train_inputs import COORDINATE_ASCENT, train_inputs, train_section
from recipekit.component import Embeddings, Ranks, TrainingContext
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.records import Side
from recipekit.stages.train.train import train
from recipekit.testing import context
from recipekit.training.coordinate_ascent import CoordinateAscent, Schedule
from recipekit.training.gradients import most_moved_passages


@dataclass(frozen=True)
class OtherMainRank(FakeRanks):
    """Ranks whose main rank measured another value of one type."""

    measured: Any = None

    def broadcast(self, value: Any) -> Any:
        return self.measured if type(value) is type(self.measured) else value


FreezesOf = Callable[..., list[tuple[int, int]]]


@pytest.fixture
def freezes_of(
    tiny_model: Path, tiny_dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FreezesOf:
    """Trains with a phase; returns how often each freeze was repeated, and its step."""

    def train_with(phase: dict[str, Any], ranks: Ranks | None = None) -> list[tuple[int, int]]:
        freeze, calls = CoordinateAscent._freeze, []

        def spy(phase: CoordinateAscent, refreshes: int) -> None:
            calls.append((refreshes, phase.step))
            freeze(phase, refreshes)

        monkeypatch.setattr(CoordinateAscent, "_freeze", spy)
        inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, ranks=ranks)
        train(inputs, train_section(phase, eval_every_epochs=None), tmp_path / "out")
        return calls

    return train_with


@pytest.mark.slow
@pytest.mark.parametrize(("drift", "freezes"), [(0.0, 1), (1.0, 6)])
def test_the_drift_on_the_main_rank_decides_on_a_refresh(
    drift: float, freezes: int, freezes_of: FreezesOf
) -> None:
    phase = {**COORDINATE_ASCENT, "refresh_at_drift": 0.5, "measure_exact_loss": False}
    calls = freezes_of(phase, OtherMainRank(measured=drift))
    assert [refreshes for refreshes, _ in calls] == list(range(freezes))


@pytest.mark.slow
@pytest.mark.parametrize("side", ["query", "passage"])
@pytest.mark.parametrize("every", [None, 2, 3])
def test_a_half_phase_is_refreshed_every_so_many_steps(
    side: Side, every: int | None, freezes_of: FreezesOf
) -> None:
    epochs = {"query_epochs": 0, "passage_epochs": 0, f"{side}_epochs": 2}
    phase = {**COORDINATE_ASCENT, **epochs, "refresh_every_steps": every, "cycles": 2}
    calls = freezes_of({**phase, "measure_exact_loss": False})
    starts = [step for refreshes, step in calls if refreshes == 0]
    assert len(starts) == 2
    steps = starts[1]  # of a half-phase
    within = range(0, steps, every) if every else [0]
    assert len(within) > 1 or every is None
    assert calls == [
        (refreshes, start + step) for start in starts for refreshes, step in enumerate(within)
    ]


def test_the_gradients_on_the_main_rank_decide_which_passages_are_trained() -> None:
    verdicts = np.eye(4, 6, dtype=np.int8)
    ranks = OtherMainRank(measured=np.array([1, 4]))
    queries, passages = (FrozenMatrix.whole(unit_rows(n, 3, n)) for n in verdicts.shape)
    half = ExactSoftmax(0.05).over_passages(
        replace(queries, ranks=ranks), replace(passages, ranks=ranks), training_labels(verdicts)
    )
    half.compute()
    assert most_moved_passages(half, 2).tolist() == [1, 4]


# Convergence
# -------------------------------------------------------------------------------------------------

FORMS = ("one_vs_negatives", "soft_label", "log_marginal")
SIDES: tuple[Side, ...] = ("query", "passage")
SCHEDULE = Schedule(
    query_epochs=3,
    passage_epochs=3,
    cycles=12,
    start_with="query",
    passage_batch_size=7,
    trained_passages=30,
    passage_gradient="block",
    refresh_every_steps=None,
    refresh_at_drift=None,
    separate_towers=True,
    measure_exact_loss=True,
)


class Towers:
    """A vector for each text, so that a step for some texts changes no other embedding."""

    tied = False
    similarity = "dot"

    def __init__(self, *counts: int) -> None:
        generator = torch.Generator().manual_seed(4)
        self.of: dict[Side, torch.Tensor] = {
            side: torch.randn(count, 6, generator=generator).requires_grad_()
            for side, count in zip(SIDES, counts, strict=True)
        }
        self.frozen: dict[Path, Embeddings] = {}

    def __call__(self, rows: np.ndarray, side: Side, seed: Any) -> torch.Tensor:
        return self.of[side][rows]

    def passes(self, rows: np.ndarray, side: Side) -> list[list[np.ndarray]]:
        return [[np.arange(first, min(first + 3, len(rows)))] for first in range(0, len(rows), 3)]

    def fit_together(self, rows: np.ndarray, side: Side, passes: list) -> bool:
        return len(passes) == 1

    def tokens(self, rows: np.ndarray, side: Side) -> int:
        return len(rows)

    def encode(self, side: Side, rows: np.ndarray | None, folder: Path) -> Embeddings:
        if folder not in self.frozen:
            matrix = self.of[side].detach().numpy().copy()
            self.frozen[folder] = Embeddings(folder, matrix, "dot")
        return self.frozen[folder]

    def embed(self, side: Side, rows: np.ndarray) -> np.ndarray:
        return self.of[side].detach().numpy()[rows]

    def descend(self, learning_rate: float) -> None:
        """Make a step of plain gradient descent."""
        with torch.no_grad():
            for tower in self.of.values():
                if tower.grad is not None:
                    tower -= learning_rate * tower.grad
                    tower.grad = None


def dense(towers: Towers, verdicts: Any, grades: Any, form: str) -> tuple[float, float]:
    """The mean loss, and the norm of its gradient for all vectors, in float64."""
    leaves = [tower.detach().double().requires_grad_() for tower in towers.of.values()]
    options = {"temperature": 1.0, "form": form, "label_smoothing": 0.2}
    mean = dense_losses(*leaves, verdicts, grades, **options).mean()  # type: ignore[arg-type]
    gradients = torch.autograd.grad(mean, leaves)
    return float(mean.detach()), float(torch.cat(gradients).norm())


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_steps_on_batches_and_blocks_lower_the_exact_loss_to_a_stationary_point(
    form: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    verdicts = rng.choice([0, 0, 0, 1, 2], size=(6, 30)).astype(np.int8)
    grades = rng.integers(1, 4, size=verdicts.shape).astype(np.float32)
    towers: Any = Towers(*verdicts.shape)
    labels = training_labels(verdicts, grades)
    training = TrainingContext(
        "student", towers, 1, (0, 1), 2, labels, towers, towers.encode, towers.embed
    )
    dataset: Any = SimpleNamespace(passages=range(30))
    phase = CoordinateAscent(
        ExactSoftmax(1.0, form, 0.2, tile_size=7),
        SCHEDULE,
        context(tmp_path, dataset=dataset, _training=training),
    )
    first_loss, first_norm = dense(towers, verdicts, grades, form)
    losses, step = [], 0
    for number, part in enumerate(phase.parts):
        losses += phase.begin(number).values()
        for _ in range(part.steps):
            phase.gradient(step)
            towers.descend(1.5)
            step += 1
        losses.append(phase.finish(number)["exact_loss"])
    last_loss, last_norm = dense(towers, verdicts, grades, form)
    assert len(losses) == 25
    assert [losses[0], losses[-1]] == pytest.approx([first_loss, last_loss], rel=1e-5)
    assert all(after < before for before, after in pairwise(losses))
    assert last_norm < 0.02 * first_norm
