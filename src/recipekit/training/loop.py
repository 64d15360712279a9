"""The training loop, the only one. Read it top to bottom.

All randomness is seeded by its position in training (phase, part, epoch, step), every rank
computes the same plan, and a checkpoint holds all state that a step leaves behind. A killed run
therefore continues from its last checkpoint, and on one CPU ends with bit-identical weights.

Each phase has its own optimizer, warm-up and decay over its own steps. AdamW's moments start from
zero in every phase, since another loss has gradients of another scale; they are kept across the
parts of a phase.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from recipekit.arrays import Rows
from recipekit.artifacts.store import write_json
from recipekit.component import Encoder, Phase, Progress, Ranks, Weights
from recipekit.encoding.out_of_memory import needs_memory
from recipekit.records import SIDES, Side
from recipekit.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    start_checkpoint,
)
from recipekit.training.divergence import LossWatch
from recipekit.training.forward import EncoderForward
from recipekit.training.non_finite import non_finite_texts
from recipekit.training.optimizer import adamw
from recipekit.training.schedule import DevEvaluation, ScheduledPhase
from recipekit.training.selection import DevHistory
from recipekit.training.smaller_passes import gradient_in_memory
from recipekit.training.state import TrainingState

__all__ = ["TrainingLoop"]

CURVE_POINTS = 500
"""Points of the loss curve, each the mean over its steps, however long training is."""
CHECKPOINT_SECONDS = 600.0
"""Seconds between two checkpoints where epochs take longer."""
WEIGHTS_TOO_LARGE = (
    "the weights, their gradients and AdamW's two numbers for each trained weight do not fit: "
    "train fewer with train.lora or train.freeze, or shard them over several GPUs with FSDP"
)


class TrainingLoop:
    """The training of one encoder, on one rank: `TrainingLoop(...).run()`."""

    def __init__(
        self,
        encoder: Encoder,
        phases: Sequence[ScheduledPhase],
        *,
        ranks: Ranks,
        progress: Progress,
        scratch: Path,
        dropout: bool = False,
        dev: DevEvaluation | None = None,
        forward: EncoderForward | None = None,
        name_texts: Callable[[Mapping[Side, Rows]], str] = lambda rows: "",
    ) -> None:
        """Plan all steps.

        Args:
            encoder: An encoder prepared by `ranks.prepare`; it is trained in place.
            phases: The phases, in order.
            ranks: The processes that train together; each makes its own loop.
            progress: Where steps and evaluations are shown.
            scratch: Folder for checkpoints; a run that finds one there continues from it.
            dropout: Whether the model's dropout is on while training.
            dev: How to measure the encoder and to choose weights; None keeps the last weights.
            forward: What the phases embed with; it makes smaller passes where memory is short.
            name_texts: Returns the ids of texts that `forward` embedded, for error messages.
        """
        self.encoder, self.phases, self.ranks = encoder, phases, ranks
        self.module = cast("torch.nn.Module", encoder)
        """The encoder, with its parameters."""
        self.progress, self.folder, self.dev = progress, scratch / "checkpoints", dev
        self.forward, self.name_texts = forward, name_texts
        encoder.set_dropout(dropout)
        self.module.train()
        self.steps = sum(scheduled.steps for scheduled in phases)
        self.epochs = sum(scheduled.epochs for scheduled in phases)
        self.point_every = max(1, self.steps // CURVE_POINTS)
        self.state = TrainingState(steps=self.steps, tied=encoder.tied, kept_tied=encoder.tied)
        self.history = DevHistory()
        self.kept: Weights | None = None
        self.recent: list[Weights] = []
        """The weights at the last evaluations of the phase, where they are averaged."""
        self.resumed: Checkpoint | None = None
        self.resumed_from: list[int] = []
        """The steps from which training continued after interruptions, the last one last."""
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
            self.ranks.set_weights(self.module, self.kept)
        self.module.eval()
        return self.state

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        self.resumed = load_checkpoint(self.folder, self.ranks)
        if self.resumed is None:
            return
        self.state = TrainingState(**self.resumed.state)
        self.encoder.set_tied(self.state.tied)
        first_step = 0
        for scheduled in self.phases:
            if first_step < self.state.step < first_step + scheduled.steps:
                scheduled.phase.start()
            first_step += scheduled.steps
        self.ranks.set_weights(self.module, self.resumed.weights)
        self.history = DevHistory.of(self.state.dev)
        self.kept, self.recent = self.resumed.kept, self.resumed.recent
        self.started -= self.state.seconds
        self.progress.log("resume", step=self.state.step, steps=self.steps)
        self._count_resumption()

    def _count_resumption(self) -> None:
        """Add the present step to those from which training continued.

        They are in a file of their own, since a checkpoint does not know of later interruptions.
        """
        file = self.folder.parent / "resumed.json"
        if self.ranks.is_main:
            before = json.loads(file.read_text()) if file.is_file() else []
            self.resumed_from = [*before, self.state.step]
            write_json(file, self.resumed_from)

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
        with needs_memory(
            "the dev evaluation does not fit: a lower train.dev_corpus_size ranks fewer passages"
        ):
            measured = self.dev.measure()
        values = self.ranks.broadcast(measured)
        if self.history.add(self.state.step, values, rule, competes=competes):
            self.state.kept_tied = self.state.tied
            self.kept = self.ranks.weights(self.module)
        if now is not None:
            self.ranks.set_weights(self.module, now)
            self.changed()
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

    def changed(self, unchanged: Collection[Side] = ()) -> None:
        """Tell the dev evaluation which sides' embeddings have changed: all but some."""
        if self.dev is not None:
            self.dev.forget([side for side in SIDES if side not in unchanged])

    def drop_removed(self) -> None:
        """Drop the kept weights of modules that a phase has removed, such as a head."""
        if self.kept is not None:
            names = {name for name, _ in self.module.named_parameters()}
            self.kept = {name: kept for name, kept in self.kept.items() if name in names}

    def _averaged(self, count: int) -> Weights:
        """Give the encoder the mean of its weights at the last evaluations; return its own."""
        now = self.ranks.weights(self.module)
        self.recent = [*self.recent, now][-count:]
        mean = {
            name: torch.stack([weights[name] for weights in self.recent]).mean(0) for name in now
        }
        self.ranks.set_weights(self.module, mean)
        self.changed()
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
            with needs_memory(WEIGHTS_TOO_LARGE):
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
            loop.changed(self.phase.unchanged_sides(part))
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
        loop.drop_removed()

    def stop(self) -> int:
        """End the phase early; return the steps that it skips."""
        loop, state = self.loop, self.loop.state
        stopped_at, skipped = state.step, self.scheduled.steps - self.step
        self.add_point()
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
            self.phase.start()
            loop.recent = []
            loop.history.start_phase()
        self.optimizer = adamw(loop.module, settings.learning_rate, settings.weight_decay)
        self.watch = LossWatch()
        if self.step > 0 and loop.resumed is not None:
            loop.ranks.set_optimizer_state(loop.module, self.optimizer, loop.resumed.optimizer)
            self.watch = LossWatch(**loop.state.watch)
            assert loop.resumed.phase_folder is not None, "it was read back"
            self.phase.restore(loop.state.phase, loop.resumed.phase_folder)
        loop.resumed = None  # its weights need memory

    def train_step(self) -> tuple[dict[str, float], bool]:
        """Make one optimizer step.

        Returns:
            The values to show, and whether the last checkpoint is so old that another is due.
        """
        loop, ranks, module = self.loop, self.loop.ranks, self.loop.module
        learning_rate = self.settings.learning_rate_at(self.step, self.scheduled.steps)
        self.learning_rate = learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

        result = gradient_in_memory(
            self.phase,
            self.step,
            where=f"step {loop.state.step + 1:,} of {loop.steps:,}",
            encoder=module,
            forward=loop.forward,
            ranks=ranks,
            progress=loop.progress,
        )
        with needs_memory(WEIGHTS_TOO_LARGE):
            gradient_is_finite = ranks.sum_gradients(module)
        # Saving is collective, so the main rank's clock decides for all; it travels with the loss.
        is_late = ranks.is_main and time.monotonic() - loop.saved_at > CHECKPOINT_SECONDS
        shared = torch.stack([result.loss.float(), torch.full_like(result.loss, is_late).float()])
        loss, late_ranks = ranks.sum(shared).tolist()
        norm = ranks.clip_gradients(module, self.settings.max_grad_norm or None)
        self.watch.add(
            loss,
            norm,
            loop.state.step + 1,
            learning_rate,
            lambda: self.describe_batch(result.loss, gradient_is_finite),
        )
        with needs_memory(WEIGHTS_TOO_LARGE):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

        loop.state.add_step(loss, norm, result.tokens)
        if loop.state.step % loop.point_every == 0 or self.step == self.scheduled.steps:
            self.add_point()
        return {"loss": loss, "lr": learning_rate}, late_ranks > 0

    def describe_batch(self, loss: torch.Tensor, gradient_is_finite: torch.Tensor) -> str:
        """Return the phase and the texts behind a loss or gradient that is not finite."""
        loop, texts = self.loop, ""
        if loop.forward is not None:
            found = non_finite_texts(loop.forward, loss, gradient_is_finite, loop.ranks)
            texts = found.describe(loop.name_texts, loop.ranks.count)
        return f" in phase {self.scheduled.name}{texts}"

    def add_point(self) -> None:
        """Add a point of the steps since the last one to the loss curve, and log it."""
        loop = self.loop
        point = loop.state.add_point(self.number, self.learning_rate)
        if point is None:
            return
        rate = loop.state.step / max(time.monotonic() - loop.started, 1e-9)
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
            weights=ranks.weights(loop.module),
            kept=loop.kept,
            recent=loop.recent,
            optimizer=ranks.optimizer_state(loop.module, self.optimizer),
            state=asdict(loop.state),
        )
        save_checkpoint(loop.folder, loop.state.step, checkpoint, ranks)
        loop.saved_at = time.monotonic()
