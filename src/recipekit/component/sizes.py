"""How much data there is, for estimates of work and money before anything is done."""

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
"""Texts that stand for all of them."""

ENGLISH: Final = (
    "A river that leaves the mountains slows down where the land is flat, and what it carried sinks to the ground. Over centuries "
    "these layers build a plain of rich soil, which floods when the snow melts and is farmed in the months between. "
)
"""Stands for texts of which nothing is known but their length.

English prose has some 4.6 characters a token.
"""


@dataclass(frozen=True)
class Sizes:
    """Counts, and a sample of the texts: of the collected data, or of data that a recipe expects."""

    queries: Mapping[str, int]
    """How many, by split."""
    passages: int
    query_sample: Sequence[str]
    passage_sample: Sequence[str]
    positives: int = 0
    """Given positives of all queries."""
    dimension: int | None = None
    """Of the embeddings of a component's encoder, where it has one and it is known; for a whole stage,
    what the recipe expects of encoders that are not at hand.
    """
    expected: bool = False
    """Whether these are the recipe's expectations, nothing being collected yet."""

    @classmethod
    def of(cls, dataset: Dataset) -> Sizes:
        """The sizes of a data set, with texts at even distances over the whole tables as samples."""
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
        """Sizes of data that nobody has collected yet, all of its texts of the mean length."""
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
        """The same for the queries of some splits; their positives are taken to be as many a query,
        where they are not given.
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
    return table.texts([place * len(table) // count for place in range(count)])


def _prose(characters: float) -> str:
    length = max(1, round(characters))
    return (ENGLISH * (length // len(ENGLISH) + 1))[:length]


def _mean_bytes(texts: Sequence[str]) -> float:
    return sum(len(text.encode()) for text in texts) / max(1, len(texts))
