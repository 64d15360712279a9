"""Coordinate ascent: one side is frozen as a matrix, and the other is trained against all of it.

Source: J. Morris, "Unsupervised Text Deidentification", 2022.

In the **query half-phase** the passages are frozen. A step encodes B queries and scores them
against all N passages, without encoding a passage.

In the **passage half-phase** the queries are frozen. A step encodes a block of passages and scores
them against all n queries, whose log-partitions over the rest of the corpus are cached: see
`recipekit.losses.passage_softmax`. It is exact at the half-phase's first step, and drifts as steps
change the encoder under the cached embeddings. Drift is measured, and frozen and cached embeddings
are refreshed as the recipe says.

With tied towers a step also changes the encoder under the frozen side. With separate towers the
frozen side stays exact, and a phase with only query half-phases never changes the passages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from recipekit.arrays import Rows
from recipekit.component import (
    Context,
    Loss,
    Phase,
    PhasePart,
    StepResult,
)
from recipekit.encoding.out_of_memory import needs_memory
from recipekit.losses.frozen_matrix import FrozenMatrix
from recipekit.losses.passage_loss import CorpusLoss, PassageLoss
from recipekit.records import SIDES, Side
from recipekit.report.numbers import plural, size
from recipekit.training.batches import Epochs
from recipekit.training.frozen_sides import FrozenSides, exact_loss
from recipekit.training.gradients import (
    corpus_gradient,
    corpus_passages_gradient,
    most_moved_passages,
    passage_block_gradient,
)
from recipekit.training.passage_subset import over_passages

__all__ = ["CoordinateAscent", "Schedule"]

DRIFT_CHECKS = 20
"""How often a half-phase measures drift if a recipe limits it."""
TRAINED_PASSAGES = "trained-passages.npy"
"""The file of a checkpoint with the passages that a half-phase trains, if not all."""


@dataclass(frozen=True)
class Schedule:
    """The half-phases of a coordinate ascent, as `CoordinateAscentSpec` declares them."""

    query_epochs: int
    passage_epochs: int
    cycles: int
    start_with: Side
    passage_batch_size: int
    trained_passages: int
    """How many passages a passage half-phase trains."""
    passage_gradient: Literal["block", "corpus"]
    refresh_every_steps: int | None
    refresh_at_drift: float | None
    separate_towers: bool
    measure_exact_loss: bool


class CoordinateAscent(Phase):
    """Alternates half-phases, each of which trains one side against the other, frozen."""

    def __init__(
        self, loss: Loss, schedule: Schedule, context: Context, passages: Rows | None = None
    ) -> None:
        """Plan the steps.

        Args:
            loss: A loss whose negatives come from the corpus.
            schedule: The half-phases.
            context: The phase's context.
            passages: The passages that the softmax is over, ascending, with all positives; None
                for the whole corpus.
        """
        self.loss, self.schedule, self.ranks = loss, schedule, context.ranks
        training = context.training
        if passages is not None:
            training = over_passages(training, passages)
        self.training = training
        self.separates_towers = schedule.separate_towers
        n_queries = len(training.labels.queries)
        n_passages = len(context.dataset.passages if passages is None else passages)
        self.n_passages = n_passages
        if alone := training.labels.without_negative(n_passages):
            context.progress.warn(
                f"coordinate_ascent: {alone:,} of {n_queries:,} queries have no negative among the "
                f"softmax's {plural(n_passages, 'passage')}. {_more_negatives(passages)}"
            )
        self.queries = Epochs(
            n_queries, training.batch_size, training.seed, max(1, schedule.query_epochs)
        )
        block = schedule.passage_batch_size
        if schedule.passage_gradient == "corpus":
            block = n_passages
        self.blocks = Epochs(
            schedule.trained_passages, block, training.seed, max(1, schedule.passage_epochs)
        )
        self.halves = _halves(schedule)
        self.parts = [self._part(side, cycle) for side, cycle in self.halves]
        untrained = None
        if training.number == 0 and passages is None:
            # Mining and evaluation use the untrained embeddings too: they are a cached by-product.
            # The encoder is untrained only now, before any step and before a checkpoint is loaded.
            untrained = context.embeddings(training.encoder_name, "passage")
        self.sides = FrozenSides(
            training, self.ranks, context.progress, context.scratch / "frozen", untrained
        )
        self.part, self.step, self.refreshed_at, self.refreshes = 0, 0, 0, 0
        self.frozen_name = ""
        self._in_checkpoint: set[str] = set()
        """Names of embeddings that the last checkpoint needs."""
        self.frozen: FrozenMatrix | None = None
        self.passages: PassageLoss | None = None
        self.trained: Rows | None = None
        """The passages that the present half-phase trains, ascending; None for all of them."""
        self._restored: tuple[Mapping[str, Any], Path] | None = None

    # The loop's calls
    # ---------------------------------------------------------------------------------------------

    def begin(self, part: int) -> Mapping[str, float]:
        """Freeze one side, and prepare the other for training."""
        restored, self._restored = self._restored, None
        if restored is not None and restored[0]["part"] == part and restored[0]["within"]:
            self._resume(*restored)
            return {}
        self.part = part
        self.step = self._start
        self.sides.delete(keep=set(self.sides.current.values()))
        figures = {} if part else self._exact_loss(part)
        self._freeze(refreshes=0)
        self.trained = None
        if self.passages is not None and self.blocks.count < self.passages.passages.total:
            with self._matrices_in_memory():
                self.trained = most_moved_passages(self.passages, self.blocks.count)
        return figures

    def unchanged_sides(self, part: int) -> Collection[Side]:
        """Return the frozen side, unless both share weights."""
        if self.shares_weights:
            return ()
        trained, _ = self.halves[part]
        return [side for side in SIDES if side != trained]

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of a batch of queries, or of a block of passages."""
        self.step = step
        if self._is_refresh_due():
            self.sides.changed(self.side, tied=self.shares_weights)
            self._freeze(self.refreshes + 1)
            in_use = {self.frozen_name, *self.sides.current.values()}
            self.sides.delete(keep=in_use | self._in_checkpoint)
        side, cycle = self.halves[self.part]
        within = step - self._start
        epochs = self.queries if side == "query" else self.blocks
        rows, seed = epochs.at(cycle * self.parts[self.part].steps + within)
        seed = [*seed[:-1], step]
        training, forward = self.training, self.training.forward
        self.sides.changed(side, tied=self.shares_weights)
        self.step = step + 1
        if side == "query":
            assert self.frozen is not None, "begin() freezes the passages"
            return corpus_gradient(forward, self.loss, training.labels, self.frozen, rows, seed)
        assert self.passages is not None, "begin() freezes the queries"
        if self.schedule.passage_gradient == "corpus":
            return corpus_passages_gradient(forward, self.passages, seed, self.ranks)
        if self.trained is not None:
            rows = self.trained[rows]
        trained = self.blocks.count
        return passage_block_gradient(forward, self.passages, rows, seed, self.ranks, trained)

    def finish(self, part: int) -> Mapping[str, float]:
        """Measure drift, and the exact loss with both sides encoded again."""
        figures = {f"{side}_drift": drift for side, drift in self._drifts().items()}
        self.frozen = self.passages = None  # their memory is free before the next need some
        return {**self._exact_loss(part + 1), **figures}

    def state(self) -> Mapping[str, Any]:
        """Return the position, and the names of the embeddings in use."""
        self._in_checkpoint = {self.frozen_name, *self.sides.current.values()}
        return {
            "part": self.part,
            "step": self.step,
            "within": 0 < self.step - self._start < self.parts[self.part].steps,
            "refreshes": self.refreshes,
            "refreshed_at": self.refreshed_at,
            "frozen": self.frozen_name,
            "current": dict(self.sides.current),
        }

    def save(self, folder: Path) -> None:
        """Write the passages and log-partitions that a passage half-phase has changed."""
        if self.passages is not None:
            self.passages.save(folder)
        if self.trained is not None and self.ranks.is_main:
            np.save(folder / TRAINED_PASSAGES, self.trained)

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Continue from a checkpoint."""
        self.sides.restore(state["current"])
        self._restored = (state, folder)

    def end(self) -> None:
        """Release the matrices and delete their files."""
        self.frozen = self.passages = None
        self.sides.close()

    # Half-phases
    # ---------------------------------------------------------------------------------------------

    @property
    def side(self) -> Side:
        """The side that the present half-phase trains."""
        return self.halves[self.part][0]

    @property
    def shares_weights(self) -> bool:
        """Whether a step for one side changes the embeddings of the other."""
        return self.training.encoder.tied and not self.training.fixed_passages

    @property
    def _start(self) -> int:
        """The first step of the present half-phase."""
        return sum(half.steps for half in self.parts[: self.part])

    def _part(self, side: Side, cycle: int) -> PhasePart:
        epochs, count = self.queries, self.schedule.query_epochs
        if side == "passage":
            epochs, count = self.blocks, self.schedule.passage_epochs
        name = f"{side} {cycle + 1}" if len(self.halves) > 1 else side
        return PhasePart(count * epochs.steps_per_epoch, epochs.steps_per_epoch, name)

    def _resume(self, state: Mapping[str, Any], folder: Path) -> None:
        """Continue inside a half-phase with the embeddings that it froze."""
        self.part, self.step = state["part"], state["step"]
        self.refreshes, self.refreshed_at = state["refreshes"], state["refreshed_at"]
        self.frozen_name = state["frozen"]
        self._in_checkpoint = {self.frozen_name, *state["current"].values()}
        if self.side == "query":
            self._open_frozen()
            return
        with self._matrices_in_memory():
            empty = self._blank_passages()
            self.passages = self._over_passages(empty)
            self.passages.load(folder)
        if self.blocks.count < empty.total:
            self.trained = np.load(folder / TRAINED_PASSAGES)

    def _freeze(self, refreshes: int) -> None:
        """Encode and freeze the other side, and for passages their own embeddings as well.

        Args:
            refreshes: How often the half-phase has done so before.
        """
        self.frozen = self.passages = None
        position = f"{self.part}-{refreshes}"
        other: Side = "passage" if self.side == "query" else "query"
        self.frozen_name = self.sides.encode(other, position)
        if self.side == "query":
            self._open_frozen()
        else:
            own = self.sides.open("passage", self.sides.encode("passage", position))
            with self._matrices_in_memory():
                copied = own.matrix.to(self.ranks.device, copy=True)
                frozen = FrozenMatrix(copied, own.start, own.total, self.ranks)
                self.passages = self._over_passages(frozen)
                self.passages.compute()
        self.refreshes, self.refreshed_at = refreshes, self.step

    def _open_frozen(self) -> None:
        """Copy this rank's slice of the frozen passages to its device, if it fits there."""
        self.frozen = self.sides.to_device(self.sides.open("passage", self.frozen_name))

    def _matrices_in_memory(self) -> AbstractContextManager[None]:
        """Report it if what a passage half-phase freezes and caches does not fit into memory."""
        matrix = self.sides.open("query", self.frozen_name).matrix
        passages = self.n_passages // self.ranks.count
        taken = matrix.nbytes + passages * matrix.shape[1] * matrix.itemsize
        return needs_memory(
            f"the frozen embeddings take {size(taken)} on {self.ranks.device}: "
            "`precision: bf16` of the encoder halves them, several GPUs hold a part each, and a "
            "lower `tile_size` of exact_softmax scores fewer of them at a time"
        )

    def _over_passages(self, passages: FrozenMatrix) -> PassageLoss:
        queries = self.sides.open("query", self.frozen_name).to(self.ranks.device)
        loss = cast("CorpusLoss", self.loss)
        return loss.over_passages(queries, passages, self.training.labels)

    def _blank_passages(self) -> FrozenMatrix:
        """Return this rank's slice of a passage matrix of the right shape, to be loaded."""
        queries = self.sides.open("query", self.frozen_name).matrix
        total, ranks = self.n_passages, self.ranks
        start, stop = (total * rank // ranks.count for rank in (ranks.rank, ranks.rank + 1))
        matrix = torch.empty(
            stop - start, queries.shape[1], dtype=queries.dtype, device=ranks.device
        )
        return FrozenMatrix(matrix, start, total, ranks)

    # Measurements
    # ---------------------------------------------------------------------------------------------

    def _exact_loss(self, part: int) -> dict[str, float]:
        """Return the loss of the present weights; both sides are encoded unless current."""
        if not self.schedule.measure_exact_loss:
            return {}
        names = {side: self.sides.encode(side, f"{part}-0") for side in SIDES}
        queries, passages = (self.sides.open(side, names[side]) for side in SIDES)
        with needs_memory(
            f"the exact loss of {len(queries.matrix):,} queries on {self.ranks.device}: a lower "
            "`tile_size` of exact_softmax scores fewer passages at a time, and "
            "`measure_exact_loss: false` of the phase leaves it out"
        ):
            passages = self.sides.to_device(passages)
            return {"exact_loss": exact_loss(self.loss, queries, passages, self.training.labels)}

    def _drifts(self) -> dict[Side, float]:
        """Return the drift of what the half-phase has frozen or cached, where it can drift."""
        drifts: dict[Side, float] = {}
        tied = self.shares_weights
        if self.frozen is not None and tied:
            drifts["passage"] = self.sides.drift("passage", self.frozen)
        if self.passages is not None:
            drifts["passage"] = self.sides.drift("passage", self.passages.passages)
            if tied:
                drifts["query"] = self.sides.drift("query", self.passages.queries)
        return drifts

    def _is_refresh_due(self) -> bool:
        schedule, since = self.schedule, self.step - self.refreshed_at
        if since == 0:
            return False
        if self.side == "query" and not self.shares_weights:
            return False  # the passages are exact
        if self.side == "passage" and schedule.passage_gradient == "corpus":
            return True
        if schedule.refresh_every_steps is not None and since >= schedule.refresh_every_steps:
            return True
        if schedule.refresh_at_drift is None:
            return False
        if since % max(1, self.parts[self.part].steps // DRIFT_CHECKS):
            return False
        # The main rank's drift counts: others may differ in the last bit, and a refresh is
        # collective.
        drift: float = self.ranks.broadcast(max(self._drifts().values()))
        return drift > schedule.refresh_at_drift


def _more_negatives(passages: Rows | None) -> str:
    """Return what gives queries negatives, in words."""
    if passages is None:
        return "A larger corpus has some"
    return "`passages: all` has those of the whole corpus"


def _halves(schedule: Schedule) -> list[tuple[Side, int]]:
    """Return the half-phases in order: the side that each trains, and its cycle."""
    epochs: dict[Side, int] = {
        "query": schedule.query_epochs,
        "passage": schedule.passage_epochs,
    }
    order = SIDES if schedule.start_with == "query" else SIDES[::-1]
    sides = [side for side in order if epochs[side]]
    return [(side, cycle) for cycle in range(schedule.cycles) for side in sides]
