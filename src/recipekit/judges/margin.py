"""The positive-aware margin filter: a candidate that scores like a known positive is likely one
itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from recipekit.arrays import Bools, Floats, Ints
from recipekit.component import (
    Context,
    Embeddings,
    EncoderName,
    Judge,
    JudgeSpec,
    PairBatch,
    Progress,
    Verdicts,
)
from recipekit.records import Verdict

__all__ = ["MarginJudge", "MarginSpec"]

BLOCK = 4096
"""Pairs scored at once: at 1024 dimensions, 16 MiB of vectors a side."""


class MarginSpec(JudgeSpec):
    """Positive-aware margin filter: candidates that an encoder scores near a source positive are no
    negatives.

    With `s` the encoder's score of a candidate (the dot product of its embeddings: the cosine,
    where it normalizes) and `s+` its score of the source positives (see `reference`), a candidate
    is above the margin when

    - `percentage`: s > s+ - (1 - percentage) * |s+|, which is percentage * s+ for a positive s+;
    - `absolute`:   s > s+ - absolute

    (either, where both are set). It gets the verdict `above`; every other candidate is a negative.
    Known settings:

    - NV-Retriever's TopK-PercPos (arXiv 2407.15831): percentage 0.95, the default;
    - NV-Retriever's TopK-MarginPos: percentage null, absolute 0.05;
    - CDE's (arXiv 2410.02525), drop s >= s+ by a surrogate: percentage null, absolute 0 (an exact
      tie is kept here);
    - Qwen3-Embedding's (arXiv 2506.05176), drop s > s+ + 0.1: percentage null, absolute -0.1.

    A query without a source positive has nothing to compare with, and is not judged. Neither is a
    pair that the source or a judge before called negative, unless `previous_verdicts` asks for
    negatives: a score filter deletes exactly the near-duplicate negatives that teach most, and a
    judged negative knows better.
    """

    encoder: EncoderName
    """Which of the recipe's encoders scores: a teacher, or the student as it is before training."""
    percentage: Annotated[float, Field(gt=0, le=2)] | None = 0.95
    """Share of the positive's score above which a candidate is no negative.

    NV-Retriever's best by default. Null: not used.
    """
    absolute: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """How far below the positive's score the line is; a negative number puts it above. Null: not
    used, since what a distance means differs from encoder to encoder."""
    reference: Literal["lowest", "mean", "highest"] = "highest"
    """Against which of several source positives: the one that scores `lowest` (as
    sentence-transformers' miner does), the `mean` of their scores, or the `highest`. With many
    positives the weakest lies so low that no negative is left: on nfcorpus, half of the positives
    known, all-MiniLM-L6-v2's 50 best passages, `lowest` ignores 99 % of them, `mean` 94 %,
    `highest` 40 %."""
    above: Literal["ignore", "positive"] = "ignore"
    """What a candidate above the line is.

    Ignored by default: a score makes a relevant passage likely, not certain.
    """

    @model_validator(mode="after")
    def _some_margin(self) -> Self:
        if self.percentage is None and self.absolute is None:
            raise ValueError("percentage and absolute are both null: set one, or both")
        return self

    def build(self, context: Context) -> Judge:
        """Make the judge; both sides' embeddings are encoded now if the cache has none."""
        queries = context.embeddings(self.encoder, "query")
        passages = context.embeddings(self.encoder, "passage")
        return MarginJudge(self, queries, passages, context.progress)


class MarginJudge(Judge):
    """See `Margin`."""

    def __init__(
        self, spec: MarginSpec, queries: Embeddings, passages: Embeddings, progress: Progress
    ) -> None:
        self.spec = spec
        self.queries = queries
        self.passages = passages
        self.progress = progress

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream verdicts with the distance from the line as confidence; count what had no positive
        to compare with.
        """
        without = {"queries": 0, "pairs": 0}
        for batch in batches:
            line, known = self._lines(batch)
            left_out = batch.query[batch.wanted & ~known]
            if len(left_out):
                without["queries"] += len(np.unique(left_out))
                without["pairs"] += len(left_out)
            chosen = np.flatnonzero(
                batch.wanted & known & ~batch.source_positive & self._open(batch)
            )
            if len(chosen):
                yield self._verdicts(batch.query[chosen], batch.passage[chosen], line[chosen])
        self.progress.log(
            "judge.margin",
            queries_without_positive=without["queries"],
            pairs_without_positive=without["pairs"],
        )

    def _open(self, batch: PairBatch) -> Bools:
        """Which pairs are not settled by an earlier negative."""
        if "negative" in (self.spec.previous_verdicts or ()):
            return np.ones(len(batch), dtype=np.bool_)
        found: Bools = np.asarray(batch.previous_verdict) != Verdict.NEGATIVE
        return found

    def _verdicts(self, query: Ints, passage: Ints, line: Floats) -> Verdicts:
        scores = self._scores(query, passage)
        above = Verdict.IGNORE if self.spec.above == "ignore" else Verdict.POSITIVE
        verdict = np.where(scores > line, above, Verdict.NEGATIVE).astype(np.int8)
        return Verdicts(query, passage, verdict, confidence=np.abs(scores - line))

    def _scores(self, query: Ints, passage: Ints) -> Floats:
        """The dot product of each pair's embeddings, float32 (m,)."""
        scores = np.empty(len(query), dtype=np.float32)
        for start in range(0, len(query), BLOCK):
            block = slice(start, start + BLOCK)
            left = np.asarray(self.queries.matrix[query[block]], dtype=np.float32)
            right = np.asarray(self.passages.matrix[passage[block]], dtype=np.float32)
            scores[block] = np.einsum("md,md->m", left, right)
        return scores

    def _lines(self, batch: PairBatch) -> tuple[Floats, Bools]:
        """The score above which each pair is no negative, float32 (m,), and whether its query has a
        source positive.
        """
        queries, of = np.unique(batch.query, return_inverse=True)
        given = np.flatnonzero(batch.source_positive)
        scores = self._scores(batch.query[given], batch.passage[given])
        count = np.bincount(of[given], minlength=len(queries))
        known = count > 0
        if self.spec.reference == "mean":
            total = np.bincount(of[given], weights=scores, minlength=len(queries))
            positive = np.where(known, total / np.maximum(count, 1), 0.0).astype(np.float32)
        else:
            pick = np.minimum if self.spec.reference == "lowest" else np.maximum
            positive = np.full(
                len(queries),
                np.inf if self.spec.reference == "lowest" else -np.inf,
                dtype=np.float32,
            )
            pick.at(positive, of[given], scores)
            positive[~known] = 0.0
        return self._line(positive)[of], known[of]

    def _line(self, positive: Floats) -> Floats:
        lines: list[Floats] = []
        if self.spec.percentage is not None:
            lines.append(
                (positive - (1 - self.spec.percentage) * np.abs(positive)).astype(np.float32)
            )
        if self.spec.absolute is not None:
            lines.append((positive - self.spec.absolute).astype(np.float32))
        # Either margin drops a candidate, so the lower line decides.
        line: Floats = np.min(lines, axis=0)
        return line
