"""Scores candidates against their query's source positives, for the `margin` judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from recipekit.arrays import Bools, Floats, Ints, Rows
from recipekit.component import Embeddings, Judge, PairBatch, Progress, Verdicts
from recipekit.judges.margin import MarginSpec
from recipekit.records import Verdict
from recipekit.search.similarity import pair_scores

__all__ = ["MarginFilter"]

PAIRS_PER_BLOCK = 4096
"""Pairs scored together: 16 MiB of vectors per side at 1024 dimensions."""


class MarginFilter(Judge):
    """What `MarginSpec` builds."""

    def __init__(
        self, spec: MarginSpec, queries: Embeddings, passages: Embeddings, progress: Progress
    ) -> None:
        self.spec = spec
        self.queries = queries
        self.passages = passages
        self.progress = progress

    @property
    def counts(self) -> dict[str, str]:
        """The similarity, for the stage's summary."""
        return {"similarity": self.passages.similarity}

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts, with the distance from the threshold as confidence."""
        queries_without = pairs_without = 0
        above = Verdict.IGNORE if self.spec.above_margin == "ignore" else Verdict.POSITIVE
        for batch in batches:
            threshold, has_positive = self._thresholds(batch)
            without = batch.query[batch.wanted & ~has_positive]
            queries_without += len(np.unique(without))
            pairs_without += len(without)
            wanted = batch.wanted & has_positive & ~batch.source_positive
            if "negative" not in (self.spec.previous_verdicts or ()):
                wanted &= batch.previous_verdict != Verdict.NEGATIVE
            rows = np.flatnonzero(wanted)
            if len(rows):
                query, passage = batch.query[rows], batch.passage[rows]
                distance = self._scores(query, passage) - threshold[rows]
                verdict = np.where(distance > 0, above, Verdict.NEGATIVE).astype(np.int8)
                yield Verdicts(query, passage, verdict, confidence=np.abs(distance))
        self.progress.log(
            "judge.margin",
            queries_without_positive=queries_without,
            pairs_without_positive=pairs_without,
        )

    def _scores(self, query: Ints, passage: Ints) -> Floats:
        """The similarity of each pair's embeddings, float32 (m,)."""
        scores = np.empty(len(query), dtype=np.float32)
        for start in range(0, len(query), PAIRS_PER_BLOCK):
            block = slice(start, start + PAIRS_PER_BLOCK)
            left = np.asarray(self.queries.matrix[query[block]], dtype=np.float32)
            right = np.asarray(self.passages.matrix[passage[block]], dtype=np.float32)
            scores[block] = pair_scores(left, right, self.passages.similarity)
        return scores

    def _thresholds(self, batch: PairBatch) -> tuple[Floats, Bools]:
        """Return the score above which each pair is not negative, and whether it has one; (m,)."""
        queries, group = np.unique(batch.query, return_inverse=True)
        positives = np.flatnonzero(batch.source_positive)
        scores = self._scores(batch.query[positives], batch.passage[positives])
        reference = self._references(scores, group[positives], len(queries))
        has_positive = np.isfinite(reference)
        reference[~has_positive] = 0.0
        thresholds: list[Floats] = []
        if self.spec.relative_margin is not None:
            thresholds.append(
                (reference - self.spec.relative_margin * np.abs(reference)).astype(np.float32)
            )
        if self.spec.absolute_margin is not None:
            thresholds.append((reference - self.spec.absolute_margin).astype(np.float32))
        lowest: Floats = np.min(thresholds, axis=0)
        return lowest[group], has_positive[group]

    def _references(self, scores: Floats, group: Rows, n_groups: int) -> Floats:
        """The reference score of each query's positives, (n_groups,); not finite if it has none."""
        if self.spec.reference_positive == "mean":
            total = np.bincount(group, weights=scores, minlength=n_groups)
            count = np.bincount(group, minlength=n_groups)
            mean: Floats = np.full(n_groups, np.nan, dtype=np.float32)
            np.divide(total, count, out=mean, where=count > 0, casting="same_kind")
            return mean
        if self.spec.reference_positive == "lowest":
            lowest = np.full(n_groups, np.inf, dtype=np.float32)
            np.minimum.at(lowest, group, scores)
            return lowest
        highest = np.full(n_groups, -np.inf, dtype=np.float32)
        np.maximum.at(highest, group, scores)
        return highest
