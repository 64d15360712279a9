"""The training loop, the only one. Read it top to bottom.

Everything random is seeded by its place in training (phase, cycle, epoch, step), every rank makes
the same plan, and all state that a step leaves behind is in a checkpoint. So a run that was killed
goes on from its last checkpoint as if nothing had been, and on one CPU ends in the same weights to
the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast_object_list

from recipekit.arrays import Rows
from recipekit.component import Progress, Ranks
from recipekit.encoding.precision import computes_in_bf16
from recipekit.encoding.tokens import TokenizedTexts
from recipekit.errors import RunError
from recipekit.records import Side
from recipekit.stages.train.section import TrainSection
from recipekit.training.batches import epoch_batches
from recipekit.training.checkpoint import (
    Weights,
    copy_weights,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
    set_weights,
)
from recipekit.training.divergence import LossWatch
from recipekit.training.optimizer import adamw, learning_rate_factor
from recipekit.training.phases import Epoch, TrainingPhase, epochs
from recipekit.training.steps import Forward, frozen_gradient, in_batch_gradient, sum_gradients

__all__ = ["Training", "TrainingState"]

CURVE_POINTS = 500  # of the loss curve, each the mean over its steps, however long training is
CHECKPOINT_SECONDS = 600.0  # between two checkpoints where epochs take longer


@dataclass
class TrainingState:
    """Where training stands, as JSON."""

    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Tokens of the texts that were trained on, padding left out."""
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points {step, phase, loss, learning_rate, gradient_norm}, each a mean over the steps since
    the one before.
    """
    dev: list[dict[str, float]] = field(default_factory=list)
    """Evaluations {step, value}; the first is the untrained encoder's."""
    best_step: int | None = None
    """The step with the best dev value, the earliest of equals; its weights are the result."""
    since_point: list[list[float]] = field(default_factory=list)
    """Loss and gradient norm of the steps after the last point."""
    watch: dict[str, Any] = field(default_factory=dict)


class Training:
    """The training of one encoder, on one rank: `Training(...).run()`."""

    def __init__(
        self,
        encoder: Any,
        tokens: Mapping[Side, TokenizedTexts],
        phases: Sequence[TrainingPhase],
        section: TrainSection,
        *,
        seed: int,
        ranks: Ranks,
        progress: Progress,
        scratch: Path,
        evaluate: Callable[[], float] | None = None,
    ) -> None:
        """Plan all steps.

        Args:
            encoder: A `component.Encoder`, the same on every rank; it is trained in place.
            tokens: The data set's texts, tokenized, by side.
            phases: What is minimised, in order; all have the same training queries.
            section: The recipe's train section: batch, optimizer, schedule, precision, evaluation.
            seed: The recipe's.
            ranks: The processes that train together; each makes its own `Training`.
            progress: Where steps and evaluations are shown.
            scratch: Keeps checkpoints and frozen matrices; a run that finds some there goes on from
                them.
            evaluate: The dev value of the encoder as it is, higher is better; called by all ranks.
                None keeps the last weights.

        Raises:
            RunError: The ranks did not form one group.
        """
        self.encoder, self.section, self.seed = encoder, section, seed
        self.ranks, self.progress, self.scratch, self.dev_value = ranks, progress, scratch, evaluate

        # --- The plan: every epoch has the same queries, so as many steps. ------------------------
        self.epochs = list(epochs(phases))
        self.n_queries = len(phases[0].labels.queries)
        self.per_epoch = -(-self.n_queries // section.batch_size)
        self.steps = self.per_epoch * len(self.epochs)
        self.evaluations = (
            _evaluation_steps(self.steps, self.per_epoch, section.eval_every_epochs)
            if evaluate
            else frozenset()
        )
        self.point_every = max(1, self.steps // CURVE_POINTS)

        # --- What a step moves. -------------------------------------------------------------------
        self.accelerator = _accelerator(ranks)
        encoder.to(self.accelerator.device)
        encoder.set_dropout(section.dropout)
        encoder.train()
        self.optimizer = adamw(encoder, section.learning_rate, section.weight_decay)
        self.forward = Forward(
            encoder, tokens, self.accelerator, computes_in_bf16(section.precision, self.accelerator.device),
            section.dropout, section.max_tokens_per_batch,
        )  # fmt: skip
        self.state = TrainingState()
        self.watch = LossWatch()
        self.best: Weights | None = None
        self.frozen: tuple[tuple[int, int], Any] | None = None
        self.batches: tuple[Epoch, list[Rows]] | None = None
        self.saved_at = time.monotonic()
        self.started = time.monotonic()

    def run(self) -> TrainingState:
        """Train through all phases, and leave the encoder with its best weights.

        Raises:
            RunError: The loss broke down or diverged.
        """
        self.resume()
        with self.progress.track("train", self.steps, unit="steps") as tracker:
            tracker.advance(self.state.step)
            if self.state.step == 0:
                self.evaluate()
            while self.state.step < self.steps:
                epoch, batch = self.next_batch()
                figures = self.step(epoch, batch)
                if self.state.step in self.evaluations:
                    self.evaluate()
                if self.state.dev:
                    figures["dev"] = self.state.dev[-1]["value"]
                self.checkpoint_if_due(epoch, figures)
                tracker.advance(1, **figures)
        self.finish()
        return self.state

    # --- Before and after -------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        found = load_checkpoint(self.scratch / "checkpoints")
        if found is None:
            return
        set_weights(self.encoder, found.weights)
        restore_optimizer(self.encoder, self.optimizer, found.moments)
        self.state = TrainingState(**found.state)
        self.watch = LossWatch(**self.state.watch)
        self.best = found.best
        self.started -= self.state.seconds
        self.progress.log("resume", step=self.state.step, steps=self.steps)

    def finish(self) -> None:
        """Put the best weights in place."""
        self.state.seconds = time.monotonic() - self.started
        if self.best is not None:
            set_weights(self.encoder, self.best)
        self.encoder.eval()

    # --- One step ---------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Epoch, Rows]:
        """The next step's epoch and global batch, (b,) indices of training queries."""
        number, within = divmod(self.state.step, self.per_epoch)
        epoch = self.epochs[number]
        if self.batches is None or self.batches[0] is not epoch:
            self.batches = (
                epoch,
                epoch_batches(self.n_queries, self.section.batch_size, [self.seed, *epoch.place]),
            )
        if within == 0 and (epoch.cycle, epoch.number) == (0, 0):
            self.watch = LossWatch()  # another phase's loss has another scale
        return epoch, self.batches[1][within]

    def step(self, epoch: Epoch, batch: Rows) -> dict[str, float]:
        """Gradient, clipping, AdamW; returns the figures to show."""
        phase, section, step = epoch.phase, self.section, self.state.step
        seed = [self.seed, *epoch.place, step]
        learning_rate = section.learning_rate * learning_rate_factor(
            step, self.steps, section.warmup_ratio, section.lr_scheduler
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

        if phase.loss.frozen is None:
            self.frozen = None  # an earlier phase's matrix is needed no more
            part, tokens = in_batch_gradient(self.forward, phase, batch, seed)
        else:
            part, tokens = frozen_gradient(
                self.forward, phase, self.frozen_side(epoch), batch, seed
            )
        sum_gradients(self.encoder, self.accelerator)
        loss = float(self.accelerator.reduce(part, "sum"))
        norm = float(
            torch.nn.utils.clip_grad_norm_(
                self.encoder.parameters(), section.max_grad_norm or float("inf")
            )
        )
        self.watch.see(loss, norm, step, learning_rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

        self.state.step += 1
        self.state.tokens += tokens
        self._point(epoch, loss, norm, learning_rate)
        return {"loss": loss, "lr": learning_rate}

    def frozen_side(self, epoch: Epoch) -> Any:
        """The side that the epoch's loss freezes, encoded by the encoder as it was when the cycle
        began.
        """
        phase, place = epoch.phase, (epoch.phase_number, epoch.cycle)
        if self.frozen is None or self.frozen[0] != place:
            assert phase.freeze is not None
            self.frozen = None  # its memory goes before the next one comes
            self.frozen = (
                place,
                phase.freeze(self.scratch / "frozen" / f"{place[0]}-{place[1]}", place == (0, 0)),
            )
        return self.frozen[1]

    def _point(self, epoch: Epoch, loss: float, norm: float, learning_rate: float) -> None:
        state = self.state
        state.since_point.append([loss, norm])
        if state.step % self.point_every and state.step != self.steps:
            return
        losses, norms = zip(*state.since_point, strict=True)
        point = {
            "step": state.step,
            "phase": epoch.phase_number,
            "loss": sum(losses) / len(losses),
            "gradient_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate,
        }
        state.curve.append(point)
        state.since_point = []
        rate = state.step / max(time.monotonic() - self.started, 1e-9)
        self.progress.log(
            "step",
            **{**point, "phase": epoch.phase.name},
            steps=self.steps,
            steps_per_second=round(rate, 3),
        )

    # --- Between steps ----------------------------------------------------------------------------

    def evaluate(self) -> None:
        """Measure on dev, and keep the weights if they are the best so far; of equals the earlier
        stay.
        """
        if self.dev_value is None:
            return
        # The main rank's word counts, so that ranks cannot come to differ about which weights are
        # best.
        value = float(broadcast_object_list([self.dev_value()])[0])
        best = max((point["value"] for point in self.state.dev), default=float("-inf"))
        if value > best or self.state.best_step is None:
            self.state.best_step = self.state.step
            self.best = copy_weights(self.encoder)
        self.state.dev.append({"step": self.state.step, "value": value})
        self.progress.info(
            f"dev {self.section.dev_metric} {value:.4f} after {self.state.step:,} of {self.steps:,} steps"
        )
        self.progress.log(
            "evaluate",
            step=self.state.step,
            metric=self.section.dev_metric,
            value=value,
            best_step=self.state.best_step,
        )

    def checkpoint_if_due(self, epoch: Epoch, figures: Mapping[str, float]) -> None:
        """Save at an epoch's end and every ten minutes. One rank writes, for all hold the same."""
        epoch_ends = self.state.step % self.per_epoch == 0
        if epoch_ends:
            done = self.state.step // self.per_epoch
            self.progress.log(
                "epoch", epoch=done, epochs=len(self.epochs), phase=epoch.phase.name, **figures
            )
        if not self.ranks.is_main or not (
            epoch_ends or time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
        ):
            return
        self.state.seconds = time.monotonic() - self.started
        self.state.watch = asdict(self.watch)
        folder = self.scratch / "checkpoints"
        save_checkpoint(
            folder, self.state.step, self.encoder, self.optimizer, self.best, asdict(self.state)
        )
        self.saved_at = time.monotonic()


def _evaluation_steps(steps: int, per_epoch: int, every: float | None) -> frozenset[int]:
    """After which steps dev is evaluated: every `every` epochs, and after the last step."""
    if every is None:
        return frozenset()
    times = int(steps / (every * per_epoch) + 1e-9)
    return frozenset(
        {max(1, round(time * every * per_epoch)) for time in range(1, times + 1)} | {steps}
    )


def _accelerator(ranks: Ranks) -> Accelerator:
    """Accelerate's view of the processes and of this one's device.

    Raises:
        RunError: It sees other processes than the run was started with, or is told to shard the
            model.
    """
    accelerator = Accelerator(cpu=ranks.device == "cpu", mixed_precision="no")
    if accelerator.num_processes != ranks.count:
        raise RunError(
            f"{ranks.count} ranks were asked for, and {accelerator.num_processes} are there: the processes did not form one group. "
            "Start them with `recipekit run --num-processes`",
            code="RK635",
        )
    sharding = (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM)
    if accelerator.distributed_type in sharding:
        raise RunError(
            f"Accelerate's configuration asks for {accelerator.distributed_type.value}: recipekit trains with plain data parallelism, "
            "a whole encoder on each rank. Choose multi-GPU in `accelerate config`",
            code="RK636",
        )
    return accelerator
