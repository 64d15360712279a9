"""The amount of data, for estimates of work and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recipekit.dataset import Dataset
    from recipekit.tables import TextTable

__all__ = ["Sizes"]

SAMPLE: Final = 256
"""How many texts represent all of them."""

ENGLISH: Final = (
    "A river that leaves the mountains slows down where the land is flat, and what it carried "
    "sinks to the ground. Over centuries these layers build a plain of rich soil, which floods "
    "when the snow melts and is farmed in the months between. "
)
"""Represents texts of which only the length is known; it has about 4.6 characters per token."""


@dataclass(frozen=True)
class Sizes:
    """Counts and sample texts, of the collected data or of the data that a recipe expects."""

    queries: Mapping[str, int]
    """The number of queries by split."""
    passages: int
    query_sample: Sequence[str]
    passage_sample: Sequence[str]
    positives: int = 0
    """Source positives of all queries."""
    dimension: int | None = None
    """The embedding dimension of the component's encoder, if it has one and the dimension is known;
    for a whole stage, the dimension that the recipe expects of encoders that are not on disk."""
    expected: bool = False
    """Whether nothing is collected yet, so that these are the recipe's expectations."""

    @classmethod
    def of(cls, dataset: Dataset) -> Sizes:
        """Return the sizes of a data set, with evenly spaced texts of its tables as samples."""
        from recipekit.records import SPLITS

        return cls(
            queries={split: len(dataset.rows(split)) for split in SPLITS},
            passages=len(dataset.passages),
            query_sample=_sample(dataset.queries),
            passage_sample=_sample(dataset.passages),
            positives=len(dataset.positives),
        )

    @classmethod
    def foreseen(
        cls,
        queries: Mapping[str, int],
        passages: int,
        *,
        query_characters: float,
        passage_characters: float,
        positives_per_query: float,
        dimension: int | None = None,
    ) -> Sizes:
        """Return the sizes of data that is not collected yet; every text has the mean length."""
        return cls(
            queries=dict(queries),
            passages=passages,
            query_sample=[_prose(query_characters)],
            passage_sample=[_prose(passage_characters)],
            positives=round(positives_per_query * sum(queries.values())),
            dimension=dimension,
            expected=True,
        )

    def within(self, splits: Sequence[str], *, positives: int | None = None) -> Sizes:
        """Return the sizes for the queries of some splits.

        Without `positives`, every query is assumed to have the same number of them.
        """
        queries = {split: self.queries.get(split, 0) for split in splits}
        share = sum(queries.values()) / max(1, self.n_queries)
        return replace(
            self,
            queries=queries,
            positives=round(self.positives * share) if positives is None else positives,
        )

    @property
    def n_queries(self) -> int:
        """Queries of all splits."""
        return sum(self.queries.values())

    @cached_property
    def passage_bytes(self) -> float:
        """Mean length of a passage in UTF-8 bytes."""
        return _mean_bytes(self.passage_sample)

    @cached_property
    def query_bytes(self) -> float:
        """Mean length of a query in UTF-8 bytes."""
        return _mean_bytes(self.query_sample)


def _sample(table: TextTable) -> list[str]:
    count = min(SAMPLE, len(table))
    return table.texts([index * len(table) // count for index in range(count)])


def _prose(characters: float) -> str:
    length = max(1, round(characters))
    return (ENGLISH * (length // len(ENGLISH) + 1))[:length]


def _mean_bytes(texts: Sequence[str]) -> float:
    return sum(len(text.encode()) for text in texts) / max(1, len(texts))
