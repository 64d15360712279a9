"""A judge that calls passages with few of the query's words negatives."""

from pydantic import Field

from recipekit.component import Context, Judge, JudgeSpec, Verdicts
from recipekit.dataset import Dataset
from recipekit.records import Verdict


class WordOverlapSpec(JudgeSpec):
    """Calls passages with few of the query's words negatives, and ignores the others."""

    negative_threshold: float = Field(default=0.5, ge=0, le=1)
    """Share of the query's words below which a passage is a negative."""

    def build(self, context: Context) -> "WordOverlap":
        return WordOverlap(context.dataset, self.negative_threshold)


class WordOverlap(Judge):
    def __init__(self, dataset: Dataset, negative_threshold: float) -> None:
        self.dataset, self.negative_threshold = dataset, negative_threshold

    def judge(self, batches):
        import numpy as np

        for batch in batches:  # the candidates of some queries; `wanted` marks the pairs to judge
            query, passage = batch.query[batch.wanted], batch.passage[batch.wanted]
            texts = self.dataset.queries.texts(query), self.dataset.passages.texts(passage)
            share = np.array([self.share(*pair) for pair in zip(*texts, strict=True)], np.float32)
            is_negative = share < self.negative_threshold
            verdict = np.where(is_negative, Verdict.NEGATIVE, Verdict.IGNORE).astype(np.int8)
            yield Verdicts(query, passage, verdict, grade=share)

    def share(self, query: str, passage: str) -> float:
        words = set(query.lower().split())
        return len(words & set(passage.lower().split())) / max(len(words), 1)
