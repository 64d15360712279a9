"""The training loop, the only one. Read it top to bottom.

All randomness is seeded by its position in training (phase, part, epoch, step), every rank
computes the same plan, and a checkpoint holds all state that a step leaves behind. A killed run
therefore continues from its last checkpoint, and on one CPU ends with bit-identical weights.

Each phase has its own optimizer, warm-up and decay over its own steps. AdamW's moments start from
zero in every phase, since another loss has gradients of another scale; they are kept across the
parts of a phase.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recipekit.component import Phase, Progress, Ranks, Weights
from recipekit.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    start_checkpoint,
)
from recipekit.training.divergence import LossWatch
from recipekit.training.forward import EncoderForward
from recipekit.training.optimizer import OptimizerSettings, adamw
from recipekit.training.selection import DevHistory, SelectionRule
from recipekit.training.smaller_passes import gradient_in_memory

__all__ = ["DevEvaluation", "ScheduledPhase", "TrainingLoop", "TrainingState"]

CURVE_POINTS = 500
"""Points of the loss curve, each the mean over its steps, however long training is."""
CHECKPOINT_SECONDS = 600.0
"""Seconds between two checkpoints where epochs take longer."""


@dataclass(frozen=True)
class ScheduledPhase:
    """A phase with its name in the recipe and its optimizer settings."""

    name: str
    phase: Phase
    optimizer: OptimizerSettings

    @property
    def steps(self) -> int:
        """Optimizer steps of the phase."""
        return self.starts[-1]

    @property
    def epochs(self) -> int:
        """Passes over what the parts train on, the last one of each perhaps not complete."""
        return sum(-(-part.steps // part.steps_per_epoch) for part in self.phase.parts)

    @cached_property
    def starts(self) -> list[int]:
        """The first step of each part, and the end of the last."""
        return [0, *accumulate(part.steps for part in self.phase.parts)]

    def part_at(self, step: int) -> int:
        """Return the part of a step of this phase."""
        return next(part for part, end in enumerate(self.starts[1:]) if step < end)

    def epochs_after(self, step: int) -> int | None:
        """Return the epochs that are complete after `step` steps, if one ends there; else None."""
        number = self.part_at(step - 1)
        part, within = self.phase.parts[number], step - self.starts[number]
        if within % part.steps_per_epoch and within != part.steps:
            return None
        earlier = self.phase.parts[:number]
        before = sum(-(-part.steps // part.steps_per_epoch) for part in earlier)
        return before + -(-within // part.steps_per_epoch)

    def ends_part(self, step: int) -> bool:
        """Return whether a part ends after `step` steps of this phase."""
        return step in self.starts[1:]


@dataclass(frozen=True)
class DevEvaluation:
    """How the loop measures the encoder while it trains."""

    measure: Callable[[], npt.NDArray[np.floating[Any]]]
    """Measure the encoder's current weights by query, (n,), higher is better; all ranks call it."""
    metric: str
    every_epochs: float = 1.0
    rule: SelectionRule = field(default_factory=SelectionRule)

    def steps(self, scheduled: ScheduledPhase) -> frozenset[int]:
        """Return the steps of a phase after which to measure; the last one of a part always is."""
        due: set[int] = set()
        for start, part in zip(scheduled.starts, scheduled.phase.parts, strict=False):
            interval = self.every_epochs * part.steps_per_epoch
            times = int(part.steps / interval + 1e-9)
            due |= {start + max(1, round(time * interval)) for time in range(1, times + 1)}
            due.add(start + part.steps)
        return frozenset(due)


@dataclass
class TrainingState:
    """The loop's state, as JSON values."""

    step: int = 0
    """Optimizer steps done, over all phases."""
    steps: int = 0
    """Optimizer steps of all phases, done or not."""
    tokens: int = 0
    """Tokens of the texts that were trained on, padding left out."""
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points {step, phase, loss, gradient_norm, learning_rate}, each a mean over the steps since
    the previous point."""
    dev: dict[str, Any] = field(default_factory=dict)
    """The `DevHistory`."""
    stopped: list[dict[str, Any]] = field(default_factory=list)
    """Phases that stopped early: {phase, step, skipped}. `step` counts skipped steps as done."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Figures of phases at the boundaries of their parts: {step, phase, part, ...}; `part` names
    the part that ended, and is empty at the start of a phase."""
    since_point: list[list[float]] = field(default_factory=list)
    """Loss and gradient norm of each step after the last point of the curve."""
    watch: dict[str, Any] = field(default_factory=dict)
    """The current phase's `LossWatch`."""
    phase: dict[str, Any] = field(default_factory=dict)
    """The current phase's own state."""
    tied: bool = True
    """Whether both sides share the encoder's weights."""
    kept_tied: bool = True
    """The same of the kept weights."""


class TrainingLoop:
    """The training of one encoder, on one rank: `TrainingLoop(...).run()`."""

    def __init__(
        self,
        encoder: Any,
        phases: Sequence[ScheduledPhase],
        *,
        ranks: Ranks,
        progress: Progress,
        scratch: Path,
        dropout: bool = False,
        dev: DevEvaluation | None = None,
        forward: EncoderForward | None = None,
        describe_batch: Callable[[], str] = lambda: "",
    ) -> None:
        """Plan all steps.

        Args:
            encoder: A `component.Encoder` prepared by `ranks.prepare`; it is trained in place.
            phases: The phases, in order.
            ranks: The processes that train together; each makes its own loop.
            progress: Where steps and evaluations are shown.
            scratch: Folder for checkpoints; a run that finds one there continues from it.
            dropout: Whether the model's dropout is on while training.
            dev: How to measure the encoder and to choose weights; None keeps the last weights.
            forward: What the phases embed with; it makes smaller passes where memory is short.
            describe_batch: Returns the texts that `forward` embedded last, for error messages.
        """
        self.encoder, self.phases, self.ranks = encoder, phases, ranks
        self.progress, self.folder, self.dev = progress, scratch / "checkpoints", dev
        self.forward, self.describe_batch = forward, describe_batch
        encoder.set_dropout(dropout)
        encoder.train()
        self.steps = sum(scheduled.steps for scheduled in phases)
        self.epochs = sum(scheduled.epochs for scheduled in phases)
        self.point_every = max(1, self.steps // CURVE_POINTS)
        self.state = TrainingState(steps=self.steps, tied=encoder.tied, kept_tied=encoder.tied)
        self.history = DevHistory()
        self.kept: Weights | None = None
        self.recent: list[Weights] = []
        """The weights at the last evaluations of the phase, where they are averaged."""
        self.resumed: Checkpoint | None = None
        self.started = self.saved_at = time.monotonic()

    def run(self) -> TrainingState:
        """Train through all phases, and leave the encoder with the weights that dev chose.

        Raises:
            RunError: The loss is not finite, or training diverged.
        """
        self.resume()
        with self.progress.track("train", self.steps, unit="steps") as tracker:
            tracker.advance(self.state.step)
            if self.state.step == 0:
                self.evaluate(competes=True)
            first_step = 0
            for number, scheduled in enumerate(self.phases):
                _PhaseRun(self, number, scheduled, first_step).run(tracker)
                first_step += scheduled.steps
        self.state.seconds = time.monotonic() - self.started
        self.state.dev = asdict(self.history)
        if self.kept is not None:
            self.encoder.set_tied(self.state.kept_tied)
            self.ranks.set_weights(self.encoder, self.kept)
        self.encoder.eval()
        return self.state

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        self.resumed = load_checkpoint(self.folder, self.ranks)
        if self.resumed is None:
            return
        self.state = TrainingState(**self.resumed.state)
        self.encoder.set_tied(self.state.tied)
        self.ranks.set_weights(self.encoder, self.resumed.weights)
        self.history = DevHistory.of(self.state.dev)
        self.kept, self.recent = self.resumed.kept, self.resumed.recent
        self.started -= self.state.seconds
        self.progress.log("resume", step=self.state.step, steps=self.steps)

    def competes(self, phase: Phase) -> bool:
        """Return whether a phase's dev values choose weights: see `Phase.trains_ranking`."""
        return phase.trains_ranking or not any(
            scheduled.phase.trains_ranking for scheduled in self.phases
        )

    def evaluate(self, *, competes: bool) -> None:
        """Measure on dev, and keep the weights if the rule says so.

        Args:
            competes: Whether the value may choose weights.
        """
        if self.dev is None:
            return
        rule = self.dev.rule
        now = self._averaged(rule.average) if rule.average > 1 else None
        # The main rank's values count, so that all ranks agree on which weights to keep.
        values = self.ranks.broadcast(self.dev.measure())
        if self.history.add(self.state.step, values, rule, competes=competes):
            self.state.kept_tied = self.state.tied
            self.kept = self.ranks.weights(self.encoder)
        if now is not None:
            self.ranks.set_weights(self.encoder, now)
        value, metric = self.history.points[-1]["value"], self.dev.metric
        self.progress.info(
            f"dev {metric} {value:.4f} after {self.state.step:,} of {self.steps:,} steps"
        )
        self.progress.log(
            "evaluate",
            step=self.state.step,
            metric=metric,
            value=value,
            kept_step=self.history.kept_step,
        )

    def _averaged(self, count: int) -> Weights:
        """Give the encoder the mean of its weights at the last evaluations; return its own."""
        now = self.ranks.weights(self.encoder)
        self.recent = [*self.recent, now][-count:]
        mean = {
            name: torch.stack([weights[name] for weights in self.recent]).mean(0) for name in now
        }
        self.ranks.set_weights(self.encoder, mean)
        return now


class _PhaseRun:
    """One phase inside the loop: its steps, optimizer and checkpoints."""

    def __init__(
        self, loop: TrainingLoop, number: int, scheduled: ScheduledPhase, first_step: int
    ) -> None:
        self.loop, self.number, self.scheduled = loop, number, scheduled
        self.phase, self.settings = scheduled.phase, scheduled.optimizer
        self.first_step = first_step
        self.evaluations = loop.dev.steps(scheduled) if loop.dev else frozenset()

    @property
    def step(self) -> int:
        """Steps of this phase that are done; the whole phase's once a later phase runs."""
        return min(self.loop.state.step - self.first_step, self.scheduled.steps)

    def run(self, tracker: Any) -> None:
        """Train through the phase, from where the loop's state is."""
        loop = self.loop
        if self.step < self.scheduled.steps:
            self.prepare()
        part = -1
        while self.step < self.scheduled.steps:
            if part != self.scheduled.part_at(self.step):
                part = self.scheduled.part_at(self.step)
                starts = self.step == self.scheduled.starts[part]
                measured = self.phase.begin(part)
                if starts:
                    self.record(measured, "")
            figures, is_late = self.train_step()
            stops, step = False, self.step
            if step in self.evaluations:
                competes = loop.competes(self.phase)
                loop.evaluate(competes=competes)
                assert loop.dev is not None, "it has evaluations"
                stops = loop.history.stops(loop.dev.rule) and step < self.scheduled.steps
            if stops or self.scheduled.ends_part(step):
                self.record(self.phase.finish(part), self.phase.parts[part].name)
            if loop.history.points:
                figures["dev"] = loop.history.points[-1]["value"]
            epoch = self.scheduled.epochs_after(step)
            if epoch is not None:
                self.log_epoch(epoch, figures)
            skipped = self.stop() if stops else 0
            if is_late or stops or epoch is not None:
                self.save()
            tracker.advance(1 + skipped, **figures)
        self.phase.end()

    def stop(self) -> int:
        """End the phase early; return the steps that it skips."""
        loop, state = self.loop, self.loop.state
        stopped_at, skipped = state.step, self.scheduled.steps - self.step
        self.flush_curve(self.learning_rate)
        state.step += skipped
        stopped = {"phase": self.scheduled.name, "step": stopped_at, "skipped": skipped}
        state.stopped.append(stopped)
        loop.progress.log("stop", **stopped)
        loop.progress.info(
            f"phase {self.scheduled.name} stops after {stopped_at:,} steps: "
            f"{loop.history.without_best} evaluations without a new best"
        )
        return skipped

    def record(self, figures: Mapping[str, float], part: str) -> None:
        """Keep and log what a phase measured at the boundary of a part."""
        if not figures:
            return
        loop = self.loop
        named = {"phase": self.scheduled.name, "part": part, **figures}
        loop.state.parts.append({"step": loop.state.step, **named})
        loop.progress.log("part", step=loop.state.step, **named)

    def prepare(self) -> None:
        """Make the optimizer, and restore what a checkpoint inside this phase holds."""
        loop, settings = self.loop, self.settings
        if self.phase.separates_towers:
            loop.encoder.set_tied(False)
        loop.state.tied = loop.encoder.tied
        if self.step == 0:
            loop.recent = []
            loop.history.start_phase()
        self.optimizer = adamw(loop.encoder, settings.learning_rate, settings.weight_decay)
        self.watch = LossWatch()
        if self.step > 0 and loop.resumed is not None:
            loop.ranks.set_optimizer_state(loop.encoder, self.optimizer, loop.resumed.optimizer)
            self.watch = LossWatch(**loop.state.watch)
            assert loop.resumed.phase_folder is not None, "it was read back"
            self.phase.restore(loop.state.phase, loop.resumed.phase_folder)
        loop.resumed = None  # its weights need memory

    def train_step(self) -> tuple[dict[str, float], bool]:
        """Make one optimizer step.

        Returns:
            The values to show, and whether the last checkpoint is so old that another is due.
        """
        loop, ranks, encoder = self.loop, self.loop.ranks, self.loop.encoder
        learning_rate = self.settings.learning_rate_at(self.step, self.scheduled.steps)
        self.learning_rate = learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

        result = gradient_in_memory(
            self.phase,
            self.step,
            encoder=encoder,
            forward=loop.forward,
            ranks=ranks,
            progress=loop.progress,
        )
        ranks.sum_gradients(encoder)
        # Saving is collective, so the main rank's clock decides for all; it travels with the loss.
        is_late = ranks.is_main and time.monotonic() - loop.saved_at > CHECKPOINT_SECONDS
        shared = torch.stack([result.loss.float(), torch.full_like(result.loss, is_late).float()])
        loss, late_ranks = ranks.sum(shared).tolist()
        norm = ranks.clip_gradients(encoder, self.settings.max_grad_norm or None)
        self.watch.add(loss, norm, loop.state.step, learning_rate, self.describe_batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

        loop.state.step += 1
        loop.state.tokens += result.tokens
        self.add_to_curve(loss, norm, learning_rate)
        return {"loss": loss, "lr": learning_rate}, late_ranks > 0

    def describe_batch(self) -> str:
        """Return the phase and the texts of the last batch, for an error message."""
        return f" in phase {self.scheduled.name}{self.loop.describe_batch()}"

    def add_to_curve(self, loss: float, norm: float, learning_rate: float) -> None:
        """Add a step to the loss curve."""
        loop, state = self.loop, self.loop.state
        state.since_point.append([loss, norm])
        if state.step % loop.point_every == 0 or state.step == loop.steps:
            self.flush_curve(learning_rate)

    def flush_curve(self, learning_rate: float) -> None:
        """Add a point of the steps since the last one to the loss curve."""
        loop, state = self.loop, self.loop.state
        if not state.since_point:
            return
        losses, norms = zip(*state.since_point, strict=True)
        point = {
            "step": state.step,
            "phase": self.number,
            "loss": sum(losses) / len(losses),
            "gradient_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate,
        }
        state.curve.append(point)
        state.since_point = []
        rate = state.step / max(time.monotonic() - loop.started, 1e-9)
        loop.progress.log(
            "step",
            **{**point, "phase": self.scheduled.name},
            steps=loop.steps,
            steps_per_second=round(rate, 3),
        )

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log the end of an epoch of this phase."""
        loop = self.loop
        earlier = sum(scheduled.epochs for scheduled in loop.phases[: self.number])
        loop.progress.log(
            "epoch",
            epoch=earlier + epoch,
            epochs=loop.epochs,
            phase=self.scheduled.name,
            **figures,
        )

    def save(self) -> None:
        """Save a checkpoint; all ranks take part."""
        loop, ranks = self.loop, self.loop.ranks
        loop.state.seconds = time.monotonic() - loop.started
        loop.state.watch = asdict(self.watch)
        loop.state.phase = dict(self.phase.state())
        loop.state.dev = asdict(loop.history)
        folder = start_checkpoint(loop.folder, loop.state.step, is_main=ranks.is_main)
        ranks.barrier()
        self.phase.save(folder)
        ranks.barrier()
        checkpoint = Checkpoint(
            weights=ranks.weights(loop.encoder),
            kept=loop.kept,
            recent=loop.recent,
            optimizer=ranks.optimizer_state(loop.encoder, self.optimizer),
            state=asdict(loop.state),
        )
        save_checkpoint(loop.folder, loop.state.step, checkpoint, ranks)
        loop.saved_at = time.monotonic()
