"""What the ranks of a coordinate ascent must agree on is decided by the main rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.dense_reference import training_labels, unit_rows
from helpers.ranks import FakeRanks
from helpers.train_inputs import COORDINATE_ASCENT, train_inputs, train_section
from recipekit.losses.exact_softmax_math import ExactSoftmax
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.stages.train.train import train
from recipekit.training.coordinate_ascent import CoordinateAscent
from recipekit.training.gradients import most_moved_passages


@dataclass(frozen=True)
class OtherMainRank(FakeRanks):
    """Ranks whose main rank measured another value of one type."""

    measured: Any = None

    def broadcast(self, value: Any) -> Any:
        return self.measured if type(value) is type(self.measured) else value


@pytest.mark.slow
@pytest.mark.parametrize(("drift", "freezes"), [(0.0, 1), (1.0, 6)])
def test_the_drift_on_the_main_rank_decides_on_a_refresh(
    drift: float,
    freezes: int,
    tiny_model: Path,
    tiny_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    freeze, calls = CoordinateAscent._freeze, []

    def spy(phase: CoordinateAscent, refreshes: int) -> None:
        calls.append(refreshes)
        freeze(phase, refreshes)

    monkeypatch.setattr(CoordinateAscent, "_freeze", spy)
    phase = {**COORDINATE_ASCENT, "refresh_at_drift": 0.5, "measure_exact_loss": False}
    ranks = OtherMainRank(measured=drift)
    inputs = train_inputs(tmp_path, tiny_model, tiny_dataset, ranks=ranks)
    train(inputs, train_section(phase, eval_every_epochs=None), tmp_path / "out")
    assert calls == list(range(freezes))


def test_the_gradients_on_the_main_rank_decide_which_passages_are_trained() -> None:
    verdicts = np.eye(4, 6, dtype=np.int8)
    ranks = OtherMainRank(measured=np.array([1, 4]))
    queries, passages = (FrozenMatrix.whole(unit_rows(n, 3, n)) for n in verdicts.shape)
    half = ExactSoftmax(0.05).over_passages(
        replace(queries, ranks=ranks), replace(passages, ranks=ranks), training_labels(verdicts)
    )
    half.compute()
    assert most_moved_passages(half, 2).tolist() == [1, 4]
