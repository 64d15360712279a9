"""An evaluator that measures how often one of the first passages is a positive."""

from typing import Annotated, Literal

from pydantic import Field

from recipekit.component import Context, Evaluator, EvaluatorSpec, QueryBatch
from recipekit.dataset import Dataset


class SuccessSpec(EvaluatorSpec):
    """The share of queries with a positive among the first `depth` passages."""

    split: Literal["train", "dev", "test"] = "test"
    """The split whose queries are measured."""
    depth: Annotated[int, Field(ge=1)] = 5
    """How many passages count."""

    def measured_queries(self, dataset: Dataset):
        return dataset.rows(self.split)

    def build(self, context: Context) -> Evaluator:
        return Success(self.split, self.depth, context.dataset)


class Success(Evaluator):
    def __init__(self, split: str, depth: int, dataset: Dataset) -> None:
        self.split, self.depth, self.dataset = split, depth, dataset

    def evaluate(self, systems):
        rows, labels = self.dataset.rows(self.split), self.dataset.positives
        pairs = zip(labels["query"].to_pylist(), labels["passage"].to_pylist(), strict=True)
        positives = set(pairs)
        queries = QueryBatch(rows, self.dataset.queries.texts(rows))
        name = {"split": self.split, "metric": f"success@{self.depth}", "queries": len(rows)}
        for system in systems:
            hits = system.retriever().search(queries, self.depth).rows.tolist()
            successes = [
                any((row, hit) in positives for hit in found)
                for row, found in zip(rows.tolist(), hits, strict=True)
            ]
            share = sum(successes) / max(len(rows), 1)
            yield {**name, "system": system.name, "value": share, "low": None, "high": None}
