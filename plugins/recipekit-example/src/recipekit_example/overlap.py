"""A judge by word overlap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
from pydantic import Field

from recipekit.component import Context, Judge, JudgeSpec, PairBatch, Verdicts
from recipekit.dataset import Dataset
from recipekit.records import Verdict

__all__ = ["Overlap"]


class Overlap(JudgeSpec):
    """Calls passages with few of the query's words negatives, and ignores the others."""

    negative_threshold: float = Field(default=0.5, ge=0, le=1)
    """Share of the query's words below which a passage is a negative."""

    def build(self, context: Context) -> OverlapJudge:
        """Make the judge."""
        return OverlapJudge(context.dataset, self.negative_threshold)


class OverlapJudge(Judge):
    """See `Overlap`."""

    def __init__(self, dataset: Dataset, negative_threshold: float) -> None:
        self.dataset = dataset
        self.negative_threshold = negative_threshold

    def judge(self, batches: Iterable[PairBatch]) -> Iterator[Verdicts]:
        """Stream negatives and ignores, with the share of words as grade."""
        for batch in batches:
            query, passage = batch.query[batch.wanted], batch.passage[batch.wanted]
            texts = zip(
                self.dataset.queries.texts(query), self.dataset.passages.texts(passage), strict=True
            )
            share = np.array([_share(*pair) for pair in texts], dtype=np.float32)
            verdict = np.where(
                share < self.negative_threshold, Verdict.NEGATIVE, Verdict.IGNORE
            ).astype(np.int8)
            yield Verdicts(query, passage, verdict, grade=share)


def _share(query: str, passage: str) -> float:
    words = set(re.findall(r"\w+", query.lower()))
    return len(words & set(re.findall(r"\w+", passage.lower()))) / max(len(words), 1)
