"""The records that sources yield, and the verdicts that judges give.

This module imports nothing heavy, so that specs can use it. Arrow schemas are in
`recipekit.tables`, the collected data in `recipekit.dataset`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

__all__ = ["SIDES", "SPLITS", "Label", "Passage", "Query", "Side", "Similarity", "Verdict"]

Side = Literal["query", "passage"]

SIDES: tuple[Side, ...] = ("query", "passage")
"""Both sides; some seeds and codes depend on the order."""

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
"""How two vectors are compared, higher is better; the names are those of sentence-transformers.

`cosine` and `dot` are the inner product, and the vectors of a `cosine` encoder have length 1.
`euclidean` and `manhattan` are the negated distance.
"""

SPLITS = ("train", "dev", "test")
"""The splits of a data set, in the order of their codes in `QUERIES.split`."""


class Verdict(enum.IntEnum):
    """A judge's decision on a (query, passage).

    A pair without a row in the judgments is UNJUDGED, a value that no table stores.
    """

    UNJUDGED = -1
    NEGATIVE = 0
    POSITIVE = 1
    IGNORE = 2


@dataclass(frozen=True)
class Passage:
    """A text that can be retrieved. `id` is unique within its source; `title` may be empty."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True)
class Query:
    """A search query. `split` is None where the source leaves the split to the recipe."""

    id: str
    text: str
    split: str | None = None


@dataclass(frozen=True)
class Label:
    """A source label on a (query, passage).

    A grade above 0 makes the passage a source positive, 0 or less a judged negative.
    """

    query_id: str
    passage_id: str
    grade: float = 1.0
