"""What a training phase is given, and what it provides to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from recipekit.arrays import Bools, Floats, Ints, Rows
    from recipekit.component.context import Embeddings
    from recipekit.component.encoders import Encoder
    from recipekit.component.masked_tokens import MaskedTokens
    from recipekit.query_pairs import QueryPairs
    from recipekit.records import Side

__all__ = [
    "Forward",
    "PairScores",
    "Phase",
    "PhasePart",
    "StepResult",
    "TrainingContext",
    "TrainingLabels",
]


@dataclass(frozen=True)
class PairScores:
    """A number for each positive and each hard negative, float32; NaN where there is none."""

    positive: Floats
    """(positives,), in the order of `TrainingLabels.positive`."""
    negative: Floats
    """(negatives,), in the order of `TrainingLabels.negative`."""


@dataclass(frozen=True)
class TrainingLabels:
    """The labelled pairs that a phase trains on, by training query.

    The training queries are the selected queries that have a positive, numbered 0..n-1 in the order
    of `queries`. Every pair that is not listed here is a negative.
    """

    queries: Rows
    """Rows of the training queries in the data set, ascending, int64 (n,)."""
    positive: QueryPairs
    weight: Floats
    """Weight of each positive, (len(positive),); a query's weights sum to 1."""
    ignored: QueryPairs
    negative: QueryPairs
    """Hard negatives, each query's best ranked first."""
    without_positive: int
    """Selected queries that are left out because they have no positive."""
    relevance: PairScores | None = None
    """Grades, scaled to [0, 1] over all pairs that a source or the same judge graded."""
    confidence: PairScores | None = None
    """The judge's confidence in its verdict, in [0, 1]."""
    is_decided: Bools | None = None
    """Whether a judge or a source decided a hard negative, (negatives,); None if all were decided.
    The others were retrieved but not judged, with `unjudged: negative`."""

    @classmethod
    def empty(cls) -> TrainingLabels:
        """Return the labels of no query, for a phase that reads none."""
        import numpy as np

        from recipekit.query_pairs import QueryPairs

        nothing = np.empty(0, dtype=np.int64)
        pairs = QueryPairs.from_sorted(nothing, nothing.astype(np.int32), 0)
        return cls(nothing, pairs, nothing.astype(np.float32), pairs, pairs, 0)

    def positive_passages(self) -> Rows:
        """Return the passages that are a positive of a query, ascending."""
        import numpy as np

        return np.unique(self.positive.passage).astype(np.int64)

    def among(self, passages: Rows) -> TrainingLabels:
        """Return the labels of a corpus of some passages, numbered by position among them.

        Hard negatives, which are among the negatives of a corpus, are not listed.

        Args:
            passages: Ascending, with all of `positive_passages`.
        """
        return TrainingLabels(
            queries=self.queries,
            positive=self.positive.among(passages),
            weight=self.weight,
            ignored=self.ignored.among(passages),
            negative=self.negative.among(passages[:0]),
            without_positive=self.without_positive,
        )

    def without_negative(self, passages: int) -> int:
        """Return how many queries have no negative in a corpus of so many passages."""
        import numpy as np

        labelled = np.diff(self.positive.offsets) + np.diff(self.ignored.offsets)
        return int((labelled == passages).sum())

    def counts(self) -> dict[str, int]:
        """Return the counts that the stage's summary shows."""
        return {
            "queries": len(self.queries),
            "queries_without_positive": self.without_positive,
            "positives": len(self.positive),
            "ignored": len(self.ignored),
            "hard_negatives": len(self.negative),
        }


@dataclass(frozen=True)
class StepResult:
    """The result of one optimizer step's forward and backward passes on one rank."""

    loss: torch.Tensor
    """This rank's part of the mean loss over the global batch, a scalar without gradient."""
    tokens: int
    """Tokens of the global batch, padding left out."""
    without_negative: int = 0
    """Queries of the global batch without a negative, which the step teaches nothing."""


class Forward(Protocol):
    """Embeds rows of the data set with the encoder that is trained."""

    def __call__(self, rows: Rows, side: Side, seed: Sequence[int]) -> torch.Tensor:
        """Embed rows in one forward pass: float32 (n, dim), differentiable.

        Args:
            rows: Rows of the data set, (n,). If there are none and several ranks train, the
                encoder still makes a pass, so that all ranks make the same number.
            side: The side that the rows are of.
            seed: Determines the dropout: the same seed gives the same embeddings again.
        """

    def token_ids(self, rows: Rows, side: Side) -> list[Ints]:
        """Return the token ids of rows, with prompt and special tokens; not to be changed."""

    def masked(
        self,
        ids: Sequence[Ints],
        masked: MaskedTokens,
        rows: Rows,
        side: Side,
        seed: Sequence[int],
    ) -> torch.Tensor:
        """Return the cross-entropy of masked tokens in one forward pass: float32 (m,).

        Args:
            ids: The altered token ids of the rows, each as long as before. Without rows, the
                encoder still makes a pass over one short text.
            masked: The tokens to predict.
            rows: Rows of the data set, (n,).
            side: The side that the rows are of.
            seed: Determines the dropout.
        """

    def passes(self, rows: Rows, side: Side) -> list[list[Rows]]:
        """Divide a global batch over forward passes and ranks.

        Returns:
            For every forward pass, for every rank, positions in `rows`; some may be empty.
        """

    def fit_together(self, rows: Rows, side: Side, passes: Sequence[Sequence[Rows]]) -> bool:
        """Whether the graphs of all passes over a global batch fit into the memory of one.

        They can then be kept until the backward pass. All ranks return the same.

        Args:
            rows: Rows of the data set, (n,).
            side: The side that the rows are of.
            passes: What `passes` returned for them.
        """

    def tokens(self, rows: Rows, side: Side) -> int:
        """Count the tokens of rows, padding left out."""


@dataclass(frozen=True)
class PhasePart:
    """A part of a phase that starts from a prepared state, such as a half-phase of a cycle."""

    steps: int
    """Optimizer steps of the part."""
    steps_per_epoch: int
    """Optimizer steps of one pass over what the part trains on, the unit of `eval_every_epochs`."""
    name: str = ""
    """What the report calls the part, such as `query 1`; empty if the phase has only one."""


class Phase(Protocol):
    """One phase of training, made for one run by a `PhaseSpec`.

    The training loop owns steps, optimizer, learning rate, dev evaluation and checkpoints. A phase
    computes gradients. It derives all randomness from `context.training.seed` and the position
    (part, epoch, step), so that a resumed run repeats the same steps.

    Each method is called on all ranks. A class that names `Phase` as its base inherits the methods
    that do nothing.
    """

    parts: Sequence[PhasePart]
    """The parts of the phase, in order. Most phases have one."""
    separates_towers: bool = False
    """Whether each side has its own copy of the encoder's weights from this phase on."""
    trains_ranking: bool = True
    """Whether its loss is about which passages answer a query.

    Dev values within a phase for which this is false neither choose the weights that are kept, nor
    end the phase early, unless the recipe has only such phases: then the last weights are kept.
    """

    def start(self) -> None:
        """Add to the encoder what only this phase trains, such as a head.

        The loop calls it before it makes the phase's optimizer, and, when a run resumes inside the
        phase, before it reads the weights of the checkpoint.
        """
        return

    def begin(self, part: int) -> Mapping[str, float]:
        """Prepare a part: freeze, re-encode, re-cluster.

        The loop calls it before a part's first step, and when a run resumes inside the part. Then
        the encoder has moved on, so what was computed from it must be read back from disk. A
        checkpoint of the part's start exists by now: files of earlier parts can be deleted.

        Returns:
            Figures about the encoder at the part's start, such as the exact loss, for
            `training.json` and the report. They are ignored where a run resumes.
        """
        return {}

    def finish(self, part: int) -> Mapping[str, float]:
        """Return figures about the encoder after a part's last step, as `begin` does."""
        return {}

    def unchanged_sides(self, part: int) -> Collection[Side]:
        """Return the sides whose embeddings no step of a part changes.

        Dev evaluations within the part embed them once. The loop calls it after `begin`.
        """
        return ()

    def gradient(self, step: int) -> StepResult:
        """Add the gradient of one step to the parameters' `.grad`.

        Gradients are summed over ranks afterwards, so each term is divided by the size of the
        global batch.

        Args:
            step: The step within this phase, counted over all parts from 0.
        """

    def state(self) -> Mapping[str, Any]:
        """Return JSON values that a checkpoint keeps for `restore`."""
        return {}

    def save(self, folder: Path) -> None:
        """Write what a checkpoint keeps besides `state`, into an empty folder.

        Ranks that share the folder write files of different names.
        """
        return

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Continue from a checkpoint; called before `begin`.

        Args:
            state: What `state` returned.
            folder: What `save` wrote.
        """
        return

    def end(self) -> None:
        """Release matrices, delete files, and remove from the encoder what `start` added.

        Called after the phase's last step, and again if a run resumes later.
        """
        return


@dataclass(frozen=True)
class TrainingContext:
    """What a phase works with, as `context.training`."""

    encoder_name: str
    """The encoder's name in the recipe, for `context.embeddings`."""
    encoder: Encoder
    """The encoder that is trained, in place."""
    number: int
    """The phase's position in the recipe, from 0. Phase 0 starts with the untrained encoder."""
    seed: tuple[int, ...]
    """The start of the phase's seeds: append part, epoch and step."""
    batch_size: int
    """Queries per optimizer step, over all ranks together."""
    labels: TrainingLabels
    """The labels that the phase's data selection leaves."""
    forward: Forward
    encode: Callable[[Side, Rows | None, Path], Embeddings]
    """`encode(side, rows, folder)`: embed texts of a side with the encoder's current weights.

    `rows` are rows of the data set; None embeds all. All ranks call it together. A folder that a
    finished call left is opened instead.
    """
    embed: Callable[[Side, Rows], Floats]
    """`embed(side, rows)`: embed a few texts with the encoder's current weights, into memory.

    All ranks call it together. The rows are float32 (n, dim).
    """
    fixed_passages: bool = False
    """Whether the passages have vectors that no training changes: see `EncoderSpec`."""
