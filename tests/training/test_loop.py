"""The training loop over toy phases: resume, best weights, schedules, release of memory."""

from __future__ import annotations

import shutil
import weakref
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.killed import KilledAfter
from helpers.toy_training import ToyEncoder, ToyPhase, are_freed, toy_loop
from recipekit.component import Phase, PhasePart, SingleProcess, StepResult
from recipekit.errors import RunError
from recipekit.testing import RecordingProgress
from recipekit.training import checkpoint as checkpoint_module
from recipekit.training import loop as loop_module
from recipekit.training.checkpoint import load_checkpoint
from recipekit.training.optimizer import OptimizerSettings, learning_rate_factor
from recipekit.training.selection import SelectionRule

CYCLES = [(4, 4), (3,), (2, 6)]
"""Steps of each cycle of three phases, 19 in all; the second ends inside an epoch."""
STEPS = 19


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Checkpoints need not survive a power cut here."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def three_phases(folder: Path):
    """Three toy phases with their files below `folder`."""

    def make(encoder: ToyEncoder) -> list[ToyPhase]:
        folder.mkdir(exist_ok=True)
        return [
            ToyPhase(encoder, folder / str(number), cycles, seed=number)
            for number, cycles in enumerate(CYCLES)
        ]

    return make


def distance_from_start(encoder: ToyEncoder) -> float:
    """A dev value that rises as training moves the weights."""
    difference = encoder.linear.weight.detach() - ToyEncoder().linear.weight.detach()
    return float(difference.abs().sum())


def weights(loop) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in loop.encoder.parameters()])


@pytest.fixture
def uninterrupted(tmp_path):
    loop = toy_loop(tmp_path / "whole", three_phases(tmp_path / "whole-files"))
    return loop, loop.run()


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_that_is_killed_at_any_step_ends_with_the_same_weights(tmp_path, uninterrupted, step):
    whole, state = uninterrupted
    phases = three_phases(tmp_path / "files")
    with pytest.raises(KeyboardInterrupt):
        toy_loop(tmp_path / "run", phases, progress=KilledAfter("train", step)).run()
    resumed = toy_loop(tmp_path / "run", phases)
    resumed_state = resumed.run()
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed_state.curve == state.curve
    assert resumed_state.tokens == state.tokens == 3 * STEPS


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_checkpoint_inside_an_epoch_resumes_to_the_same_weights(
    tmp_path, uninterrupted, monkeypatch, step
):
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", -1.0)
    phases = three_phases(tmp_path / "files")
    with pytest.raises(KeyboardInterrupt):
        toy_loop(tmp_path / "run", phases, progress=KilledAfter("train", step)).run()
    progress = RecordingProgress()
    resumed = toy_loop(tmp_path / "run", phases, progress=progress)
    resumed.run()
    assert torch.equal(weights(resumed), weights(uninterrupted[0]))
    if step > 1:
        (event,) = [event for event in progress.events if event["event"] == "resume"]
        assert event["step"] == step


def killed_at_call(monkeypatch, owner, name: str, call: int) -> None:
    """Let one call of a function, counted from 1, end the process instead."""
    function, calls = getattr(owner, name), count(1)

    def killed(*arguments, **options):
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, killed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "call", "resumes_at"),
    [
        pytest.param(checkpoint_module, "_save_tensors", 7, 6, id="before-the-tensors"),
        pytest.param(checkpoint_module, "write_json", 7, 6, id="before-the-state"),
        pytest.param(checkpoint_module, "_complete", 7, 6, id="before-it-is-flushed"),
        pytest.param(Path, "rename", 7, 6, id="before-it-is-renamed"),
        # Each checkpoint after the first removes two folders: an older one of its step, and the
        # one before it.
        pytest.param(shutil, "rmtree", 13, 7, id="before-the-one-before-is-removed"),
    ],
)
def test_a_run_that_is_killed_while_it_writes_a_checkpoint_ends_with_the_same_weights(
    tmp_path, uninterrupted, monkeypatch, owner, name, call, resumes_at
):
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", -1.0)
    phases = three_phases(tmp_path / "files")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_at_call(patch, owner, name, call)
        toy_loop(tmp_path / "run", phases).run()
    progress = RecordingProgress()
    resumed = toy_loop(tmp_path / "run", phases, progress=progress)
    resumed.run()
    assert torch.equal(weights(resumed), weights(uninterrupted[0]))
    (event,) = [event for event in progress.events if event["event"] == "resume"]
    assert event["step"] == resumes_at
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [
        f"checkpoint-{STEPS:08d}"
    ]


class KilledInBegin(ToyPhase):
    """Ends the process after its second cycle's targets are frozen."""

    def begin(self, part: int) -> dict[str, float]:
        super().begin(part)
        if part == 1:
            raise KeyboardInterrupt


def test_a_run_that_is_killed_while_it_freezes_ends_with_the_same_weights(tmp_path, uninterrupted):
    def killing(encoder: ToyEncoder) -> list[ToyPhase]:
        phases = three_phases(tmp_path / "files")(encoder)
        phases[2] = KilledInBegin(encoder, tmp_path / "files" / "2", CYCLES[2], seed=2)
        return phases

    with pytest.raises(KeyboardInterrupt):
        toy_loop(tmp_path / "run", killing).run()
    resumed = toy_loop(tmp_path / "run", three_phases(tmp_path / "files"))
    resumed.run()
    assert torch.equal(weights(resumed), weights(uninterrupted[0]))


def test_each_phase_makes_its_steps_and_begins_its_cycles_in_order(uninterrupted):
    loop, state = uninterrupted
    assert state.step == STEPS
    for scheduled, cycles in zip(loop.phases, CYCLES, strict=True):
        assert scheduled.phase.begun == list(range(len(cycles)))
        assert scheduled.phase.steps == list(range(sum(cycles)))


def test_each_phase_has_its_own_warmup_and_decay(tmp_path):
    settings = [
        OptimizerSettings(learning_rate=0.1, lr_scheduler="linear", warmup_ratio=0.5),
        OptimizerSettings(learning_rate=0.02, lr_scheduler="constant", warmup_ratio=0.0),
        OptimizerSettings(learning_rate=0.03, lr_scheduler="cosine", warmup_ratio=0.25),
    ]
    loop = toy_loop(tmp_path / "run", three_phases(tmp_path / "files"), settings=settings)
    state = loop.run()
    expected = [
        setting.learning_rate
        * learning_rate_factor(step, sum(cycles), setting.warmup_ratio, setting.lr_scheduler)
        for setting, cycles in zip(settings, CYCLES, strict=True)
        for step in range(sum(cycles))
    ]
    assert [point["learning_rate"] for point in state.curve] == pytest.approx(expected)
    assert [point["phase"] for point in state.curve] == [0] * 8 + [1] * 3 + [2] * 8


def test_no_point_of_the_curve_is_a_mean_over_two_phases(tmp_path, monkeypatch):
    make = three_phases(tmp_path / "files")
    every_step = toy_loop(tmp_path / "every", make).run().curve
    monkeypatch.setattr(loop_module, "CURVE_POINTS", 3)  # a point for each six steps
    curve = toy_loop(tmp_path / "run", three_phases(tmp_path / "others")).run().curve
    assert [(point["step"], point["phase"]) for point in curve] == [
        (6, 0),
        (8, 0),
        (11, 1),
        (12, 2),
        (18, 2),
        (19, 2),
    ]
    second = [point["loss"] for point in every_step if point["phase"] == 1]
    assert curve[2]["loss"] == pytest.approx(sum(second) / len(second))


def test_a_phase_starts_with_a_new_optimizer(tmp_path):
    both = toy_loop(tmp_path / "both", lambda encoder: three_phases(tmp_path / "1")(encoder)[:2])
    both.run()
    first = toy_loop(tmp_path / "first", lambda encoder: three_phases(tmp_path / "2")(encoder)[:1])
    first.run()
    second = toy_loop(
        tmp_path / "second", lambda encoder: three_phases(tmp_path / "3")(encoder)[1:2]
    )
    second.encoder.load_state_dict(first.encoder.state_dict())
    second.run()
    assert torch.equal(weights(second), weights(both))


def test_the_best_weights_are_kept_across_phases(tmp_path):
    values = iter([0.1, 0.3, 0.2, 0.9, 0.4, 0.9, 0.5, 0.6, 0.7, 0.8, 0.2, 0.1])
    measured = []

    def measure(encoder: ToyEncoder) -> float:
        measured.append(encoder.linear.weight.detach().clone())
        return next(values)

    loop = toy_loop(tmp_path / "run", three_phases(tmp_path / "files"), measure=measure)
    state = loop.run()
    # Before training, after each epoch, and after the last step of each phase.
    steps = [point["step"] for point in state.dev["points"]]
    assert steps == [0, 2, 4, 6, 8, 10, 11, 13, 15, 17, 19]
    assert state.dev["best_step"] == 6, "the earliest of equal values"
    assert state.dev["kept_step"] == 10, "the latest of equal values"
    assert torch.equal(loop.encoder.linear.weight, measured[5])


def test_a_resumed_run_keeps_the_best_weights_of_an_earlier_phase(tmp_path):
    def measure(encoder: ToyEncoder) -> float:
        return -abs(distance_from_start(encoder) - 0.5)

    whole = toy_loop(tmp_path / "whole", three_phases(tmp_path / "1"), measure=measure)
    state = whole.run()
    assert 0 < state.dev["kept_step"] < 8
    with pytest.raises(KeyboardInterrupt):
        toy_loop(
            tmp_path / "run",
            three_phases(tmp_path / "2"),
            measure=measure,
            progress=KilledAfter("train", 14),
        ).run()
    resumed = toy_loop(tmp_path / "run", three_phases(tmp_path / "2"), measure=measure)
    assert resumed.run().dev == state.dev
    assert torch.equal(weights(resumed), weights(whole))


class HeadPhase(ToyPhase):
    """Trains a head together with the encoder."""

    def start(self) -> None:
        if not hasattr(self.encoder, "head"):
            torch.manual_seed(5)
            self.encoder.head = torch.nn.Linear(2, 2)

    def gradient(self, step: int) -> StepResult:
        loss = (self.encoder.head(self.encoder(self.features)) - 1).square().mean()
        loss.backward()
        return StepResult(loss.detach(), tokens=8)

    def end(self) -> None:
        super().end()
        if hasattr(self.encoder, "head"):
            del self.encoder.head


@pytest.mark.parametrize("advances", [2, 4, 6])
def test_a_head_is_in_the_checkpoints_of_its_own_phase_alone(tmp_path, advances):
    def loop(name: str, progress: RecordingProgress | None = None):
        def make(encoder: ToyEncoder) -> list[ToyPhase]:
            folder = tmp_path / f"{name}-files"
            folder.mkdir(exist_ok=True)
            return [HeadPhase(encoder, folder / "0", (4,)), ToyPhase(encoder, folder / "1", (4,))]

        def measure(encoder: ToyEncoder) -> float:
            return float(hasattr(encoder, "head"))

        return toy_loop(tmp_path / name, make, measure=measure, progress=progress)

    whole = loop("whole")
    assert whole.run().dev["kept_step"] == 4
    assert [name for name, _ in whole.encoder.named_parameters()] == [
        "linear.weight",
        "linear.bias",
    ]
    with pytest.raises(KeyboardInterrupt):
        loop("run", KilledAfter("train", advances)).run()
    saved = load_checkpoint(tmp_path / "run" / "checkpoints", SingleProcess())
    assert saved.state["step"] == advances
    for stored in (saved.weights, saved.optimizer, saved.kept):
        assert any(name.startswith("head.") for name in stored) == (advances <= 4)
    resumed = loop("run")
    resumed.run()
    assert torch.equal(weights(resumed), weights(whole))


def test_a_phase_releases_its_matrix_and_its_files_at_its_end(tmp_path):
    references, files = [], tmp_path / "files"

    class Observed(ToyPhase):
        def begin(self, part: int) -> dict[str, float]:
            if part == 0:
                assert are_freed(references)
                assert not [file for file in files.rglob("*") if file.is_file()]
            figures = super().begin(part)
            references.append(weakref.ref(self.frozen))
            return figures

    def make(encoder: ToyEncoder) -> list[ToyPhase]:
        files.mkdir()
        return [Observed(encoder, files / str(i), CYCLES[i], seed=i) for i in range(3)]

    toy_loop(tmp_path / "run", make).run()
    assert len(references) == 5
    assert are_freed(references)
    assert not [file for file in files.rglob("*") if file.is_file()]


class RisingLoss(Phase):
    """Reports a constant loss; `level` differs between phases by more than divergence allows."""

    parts = (PhasePart(110, 110),)

    def __init__(self, encoder: ToyEncoder, level: float) -> None:
        self.encoder, self.level = encoder, level

    def gradient(self, step: int) -> StepResult:
        (self.encoder.linear.weight.sum() * 0).backward()
        return StepResult(torch.tensor(self.level), tokens=1)


def test_a_phase_with_a_larger_loss_than_the_one_before_has_not_diverged(tmp_path):
    toy_loop(tmp_path, lambda encoder: [RisingLoss(encoder, 1.0), RisingLoss(encoder, 9.0)]).run()


def test_a_loss_that_is_not_finite_ends_the_run_in_any_phase(tmp_path):
    loop = toy_loop(
        tmp_path, lambda encoder: [RisingLoss(encoder, 1.0), RisingLoss(encoder, float("nan"))]
    )
    with pytest.raises(RunError, match="failed at step 111 in phase b: the loss is nan"):
        loop.run()


def test_a_phase_restores_its_own_state(tmp_path):
    class Counting(ToyPhase):
        count = 0

        def gradient(self, step: int) -> StepResult:
            self.count += 1
            return super().gradient(step)

        def state(self) -> dict[str, int]:
            return {"count": self.count}

        def restore(self, state: dict[str, int], folder: Path) -> None:
            self.count = state["count"]

    def make(encoder: ToyEncoder) -> list[ToyPhase]:
        return [Counting(encoder, tmp_path / "files", (4, 4))]

    with pytest.raises(KeyboardInterrupt):
        toy_loop(tmp_path / "run", make, progress=KilledAfter("train", 7)).run()
    resumed = toy_loop(tmp_path / "run", make)
    resumed.run()
    assert resumed.phases[0].phase.count == 8


# Choosing weights and stopping
# -------------------------------------------------------------------------------------------------


def steadily(values):
    """A dev metric that returns the given values by query, one evaluation after the other."""
    remaining = iter(values)
    return lambda encoder: np.array(next(remaining), dtype=float)


def test_a_phase_stops_when_patience_runs_out_and_the_next_one_starts(tmp_path):
    values = [[0.1], [0.5], [0.4], [0.3], [0.6], [0.7], [0.8], [0.8], [0.9], [1.0]]
    rule = SelectionRule(patience=2)
    make, measure = three_phases(tmp_path / "files"), steadily(values)
    loop = toy_loop(tmp_path / "run", make, measure=measure, rule=rule)
    state = loop.run()
    assert state.stopped == [{"phase": "a", "step": 6, "skipped": 2}]
    steps = [point["step"] for point in state.dev["points"]]
    assert steps == [0, 2, 4, 6, 10, 11, 13, 15, 17, 19]
    assert loop.phases[0].phase.steps == list(range(6))
    assert state.tokens == 3 * (STEPS - 2)
    assert [point["step"] for point in state.curve][-1] == STEPS


@pytest.mark.parametrize("step", [3, 6, 7, 12])
def test_a_resumed_run_stops_where_the_whole_one_did(tmp_path, step):
    def measure(encoder: ToyEncoder) -> float:
        return -distance_from_start(encoder)  # the untrained weights are the best

    rule = SelectionRule(patience=2)
    whole = toy_loop(tmp_path / "whole", three_phases(tmp_path / "1"), measure=measure, rule=rule)
    state = whole.run()
    assert [stopped["step"] for stopped in state.stopped]
    make = three_phases(tmp_path / "2")
    with pytest.raises(KeyboardInterrupt):
        progress = KilledAfter("train", step)
        toy_loop(tmp_path / "run", make, measure=measure, rule=rule, progress=progress).run()
    resumed = toy_loop(tmp_path / "run", make, measure=measure, rule=rule)
    resumed_state = resumed.run()
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed_state.stopped == state.stopped
    assert resumed_state.dev == state.dev


def test_averaged_weights_are_measured_and_kept_but_training_goes_on_from_its_own(tmp_path):
    seen = []

    def measure(encoder: ToyEncoder) -> float:
        seen.append(encoder.linear.weight.detach().clone())
        return float(len(seen))  # the last evaluation is the best

    def one_phase(name: str):
        return lambda encoder: three_phases(tmp_path / name)(encoder)[:1]

    plain = toy_loop(tmp_path / "plain", one_phase("1"), measure=measure)
    plain.run()
    own, seen = list(seen), []
    averaged = toy_loop(
        tmp_path / "mean", one_phase("2"), measure=measure, rule=SelectionRule(average=3)
    )
    averaged.run()
    torch.testing.assert_close(averaged.encoder.linear.weight, torch.stack(own[-3:]).mean(0))
    torch.testing.assert_close(seen[2], torch.stack(own[1:3]).mean(0))
