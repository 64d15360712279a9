"""Batches of training examples: pairs, triplets and tuples, with labels or scores.

A query brings one of its positives, drawn by weight, and its hard negatives. An ignored pair is in
no example. A loss that contrasts examples takes the passages of the batch's other examples as
negatives, without a mask. Its batches are therefore composed so that each passage of an example is
a negative of every other query in the batch: no positive and no ignored passage of that query.
Queries move to a later batch of the epoch for this, as sentence-transformers' NO_DUPLICATES does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from recipekit.arrays import Bools, Rows, lookup_sorted
from recipekit.component import ExampleForm, PairScores, TrainingLabels
from recipekit.errors import RunError
from recipekit.losses.examples import BatchExamples
from recipekit.records import Side
from recipekit.training.batches import Epochs, drawn_positives, hard_negatives, hard_pool

__all__ = ["ExampleBatch", "ExampleEpochs"]

LOOK_AHEAD = 100
"""Later batches that are tried for a query that conflicts with its own."""

NEEDS_NEGATIVES = ("triplets", "labelled pairs", "scored pairs", "scored tuples")


@dataclass(frozen=True)
class ExampleBatch:
    """The queries and passages of a batch, and the examples over them."""

    queries: Rows
    """Training queries, (b,)."""
    passages: Rows
    """Rows of passages in the data set, ascending, without duplicates, (p,)."""
    examples: BatchExamples
    """BatchExamples over these queries and passages."""


@dataclass(frozen=True)
class _Drawn:
    """What each query brings in one epoch, for all queries that have an example."""

    query: Rows
    """Training query of each example, ascending, (m,)."""
    passage: Rows
    """Rows of its passages, (m, k)."""
    score: npt.NDArray[np.float32] | None
    """Label or score of each passage, (m, k)."""


class ExampleEpochs:
    """Batches of examples by step."""

    def __init__(
        self,
        labels: TrainingLabels,
        form: ExampleForm,
        num_hard_negatives: int,
        batch_size: int,
        seed: Sequence[int],
        epochs: int,
        loss: str = "the loss",
    ) -> None:
        """Plan the steps.

        Args:
            labels: The labels of the training queries.
            form: The examples to make.
            num_hard_negatives: Hard negatives per query, at most.
            batch_size: Queries per step.
            seed: The start of the seeds.
            epochs: Passes over the queries.
            loss: What the loss is called in errors.

        Raises:
            RunError: No query has such an example.
        """
        self.labels, self.form, self.num_hard_negatives = labels, form, num_hard_negatives
        self.usable = self._usable_queries()
        if not len(self.usable):
            raise RunError(self._nothing(loss), code="RK635")
        self.epochs = Epochs(
            len(self.usable), batch_size, seed, epochs, smallest=2 if form.contrasts else 1
        )
        self.left_out = len(labels.queries) - len(self.usable)
        """Queries that have no example of this form."""
        self.conflicting = 0
        """Queries of the present epoch that conflict with every batch that was tried."""
        self._epoch: list[int] = []
        self._drawn: _Drawn
        self._batches: list[Rows] = []

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.epochs.steps_per_epoch

    def texts(self) -> dict[Side, Rows]:
        """Return the queries and passages that batches can have, as rows of the data set.

        Rows ascend, without duplicates.
        """
        _, passage = self.pairs()
        return {"query": self.labels.queries[self.usable], "passage": np.unique(passage)}

    def pairs(self) -> tuple[Rows, Rows]:
        """Return the pairs that examples can have, as rows of queries and of passages.

        Pairs ascend by query, and by passage within a query; no pair occurs twice.
        """
        labels = self.labels
        positive_allowed, negative_allowed = self._allowed
        query, positive = labels.positive.of(self.usable)
        if positive_allowed is not None:
            query, positive = (
                query[positive_allowed[positive]],
                positive[positive_allowed[positive]],
            )
        of, negative = hard_pool(labels, self.usable, self.num_hard_negatives, negative_allowed)
        passage = np.concatenate(
            [labels.positive.passage[positive], labels.negative.passage[negative]]
        ).astype(np.int64)
        query = labels.queries[self.usable][np.concatenate([query, of])]
        order = np.lexsort((passage, query))
        return query[order], passage[order]

    def first_epoch(self) -> tuple[Rows, Rows]:
        """Return the examples of the first epoch, as rows of queries (m,) and passages (m, k)."""
        _, seed = self.epochs.at(0)
        drawn = self._draw(seed[:-1])
        return self.labels.queries[drawn.query], drawn.passage

    def decided_negatives(self, batch: ExampleBatch) -> Bools:
        """Return whether a judge or a source decided that a passage is a query's negative, (b, p).

        Negatives that were retrieved but not judged, and pairs that nothing lists, are undecided.
        """
        labels = self.labels
        local, at = labels.negative.of(batch.queries)
        if labels.is_decided is not None:
            local, at = local[labels.is_decided[at]], at[labels.is_decided[at]]
        column, is_here = lookup_sorted(batch.passages, labels.negative.passage[at])
        decided = np.zeros((len(batch.queries), len(batch.passages)), dtype=np.bool_)
        decided[local[is_here], column[is_here]] = True
        return decided

    def at(self, step: int) -> tuple[ExampleBatch, list[int]]:
        """Return the batch of a step, and the step's seed."""
        _, seed = self.epochs.at(step)
        if seed[:-1] != self._epoch:
            self._epoch = seed[:-1]
            self._drawn = self._draw(self._epoch)
            first = step - step % self.steps_per_epoch
            batches = [
                self.usable[self.epochs.at(first + number)[0]]
                for number in range(self.steps_per_epoch)
            ]
            self._batches = self._composed(batches) if self.form.contrasts else batches
            self.conflicting = len(self.usable) - sum(map(len, self._batches))
        return self._batch(np.sort(self._batches[step % self.steps_per_epoch])), seed

    def _usable_queries(self) -> Rows:
        """Return the training queries that have an example."""
        labels, usable = self.labels, np.ones(len(self.labels.queries), dtype=np.bool_)
        is_tuple = self.form.name == "tuples" and self.num_hard_negatives > 0
        has_negative = np.diff(labels.negative.offsets) > 0
        if self.form.name in NEEDS_NEGATIVES or is_tuple:
            usable &= has_negative
        if self._scores is not None:
            scored = np.flatnonzero(np.isfinite(self._scores.positive))
            usable &= np.isin(np.arange(len(usable)), labels.positive.query[scored])
            scored = np.flatnonzero(np.isfinite(self._scores.negative))
            usable &= np.isin(np.arange(len(usable)), labels.negative.query[scored])
        return np.flatnonzero(usable)

    @property
    def _scores(self) -> PairScores | None:
        """The scores that examples take from the labels; None if verdicts or a teacher decide."""
        if self.form.score_from in ("verdict", "teacher"):
            return None
        labels = self.labels
        found = labels.relevance if self.form.score_from == "grade" else labels.confidence
        if found is None:
            none = np.full(len(labels.positive), np.nan, dtype=np.float32)
            found = PairScores(none, np.full(len(labels.negative), np.nan, dtype=np.float32))
        if self.form.score_from == "confidence":
            return PairScores(found.positive, 1 - found.negative)
        return found

    @property
    def _allowed(self) -> tuple[Bools | None, Bools | None]:
        """Which positives and negatives may be drawn: those with a score; None allows all."""
        scores = self._scores
        if scores is None:
            return None, None
        return np.isfinite(scores.positive), np.isfinite(scores.negative)

    def _nothing(self, loss: str) -> str:
        """Return why there is no example."""
        needs = f"{loss} needs {self.form.name}, but none of the "
        needs += f"{len(self.labels.queries):,} training queries has "
        if not len(self.labels.negative):
            return (
                f"{needs}a hard negative: mine candidates and judge them, use unjudged: negative, "
                "or use a loss that reads pairs"
            )
        return (
            f"{needs}a positive and a hard negative with a {self.form.score_from}: use a judge "
            "that gives one, or score_from: verdict"
        )

    def _draw(self, seed: Sequence[int]) -> _Drawn:
        """Draw the examples of an epoch."""
        labels, rng, scores = self.labels, np.random.default_rng([*seed, 1]), self._scores
        positive_allowed, negative_allowed = self._allowed
        positive = drawn_positives(labels, self.usable, rng, positive_allowed)
        of, negative = hard_negatives(
            labels, self.usable, self.num_hard_negatives, rng, negative_allowed
        )
        positive_score = np.ones(len(positive), dtype=np.float32)
        negative_score = np.zeros(len(negative), dtype=np.float32)
        if scores is not None:
            positive_score, negative_score = scores.positive[positive], scores.negative[negative]
        positive_passage = labels.positive.passage[positive].astype(np.int64)
        negative_passage = labels.negative.passage[negative].astype(np.int64)
        if self.form.name == "pairs" or (self.form.name == "tuples" and not len(negative)):
            return _Drawn(self.usable, positive_passage[:, None], None)
        if self.form.name == "triplets":
            passage = np.stack([positive_passage[of], negative_passage], axis=1)
            return _Drawn(self.usable[of], passage, None)
        if self.form.name in ("labelled pairs", "scored pairs"):
            query = np.concatenate([np.arange(len(self.usable)), of])
            order = np.argsort(query, kind="stable")
            passage = np.concatenate([positive_passage, negative_passage])[order, None]
            score = np.concatenate([positive_score, negative_score])[order, None]
            return _Drawn(self.usable[query[order]], passage, score)
        # Tuples have one width: a query with fewer negatives repeats them.
        counts = np.bincount(of, minlength=len(self.usable))
        start = np.cumsum(counts) - counts
        columns = np.arange(self.num_hard_negatives)
        at = start[:, None] + columns % counts[:, None]
        passage = np.concatenate([positive_passage[:, None], negative_passage[at]], axis=1)
        if self.form.name == "tuples":
            return _Drawn(self.usable, passage, None)
        score = np.concatenate([positive_score[:, None], negative_score[at]], axis=1)
        return _Drawn(self.usable, passage, score)

    def _batch(self, queries: Rows) -> ExampleBatch:
        """Collect the examples of some training queries, ascending."""
        drawn = self._drawn
        rows = np.flatnonzero(np.isin(drawn.query, queries))
        passages, columns = np.unique(drawn.passage[rows], return_inverse=True)
        examples = BatchExamples(
            torch.from_numpy(np.searchsorted(queries, drawn.query[rows])),
            torch.from_numpy(columns.reshape(len(rows), -1)),
            None if drawn.score is None else torch.from_numpy(drawn.score[rows]),
        )
        return ExampleBatch(queries, passages, examples)

    def _composed(self, batches: Sequence[Rows]) -> list[Rows]:
        """Move queries between batches until no example conflicts with a query of its batch.

        Each query goes into the first batch with room, from its own on, in which its passages are
        negatives of all queries, and all passages are negatives of it. A query that fits none of
        the next hundred is left out of the epoch.
        """
        labels = self.labels
        bins = [_Bin(len(batch)) for batch in batches]
        passages = dict(zip(self._drawn.query.tolist(), self._drawn.passage.tolist(), strict=True))
        for number, batch in enumerate(batches):
            for query in batch.tolist():
                own = np.array([query])
                related = {
                    *labels.positive.take(own).passage.tolist(),
                    *labels.ignored.take(own).passage.tolist(),
                }
                for step in range(min(len(bins), LOOK_AHEAD + 1)):
                    if bins[(number + step) % len(bins)].add(query, passages[query], related):
                        break
        return [np.array(filled.queries, dtype=np.int64) for filled in bins]


class _Bin:
    """A batch that is being composed."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.queries: list[int] = []
        self.passages: set[int] = set()
        self.related: set[int] = set()
        """Passages that are positive or ignored for a query in it."""

    def add(self, query: int, passages: Sequence[int], related: set[int]) -> bool:
        """Add a query if it fits; return whether it did."""
        if len(self.queries) == self.room:
            return False
        if not self.passages.isdisjoint(related) or not self.related.isdisjoint(passages):
            return False
        self.queries.append(query)
        self.passages.update(passages)
        self.related |= related
        return True
