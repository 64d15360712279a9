"""Kinds of evaluation data: scored pairs, labelled pairs, triplets, classes, parallel sentences.

Each kind is read from a file of its own (`evaluation_file`) and is never part of the collected data
set, so that a similarity score of 0.8 cannot become a positive label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "Classes",
    "LabelledPairs",
    "ParallelSentences",
    "RankedLists",
    "ScoredPairs",
    "Triplets",
]


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of texts with a similarity score on any scale, (n,) each."""

    first: Sequence[str]
    second: Sequence[str]
    scores: Sequence[float]


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of texts that have the same meaning or not, (n,) each."""

    first: Sequence[str]
    second: Sequence[str]
    labels: Sequence[bool]


@dataclass(frozen=True)
class Triplets:
    """An anchor, a text that is close to it, and one that is not, (n,) each."""

    anchor: Sequence[str]
    positive: Sequence[str]
    negative: Sequence[str]


@dataclass(frozen=True)
class Classes:
    """Texts with the name of their class, (n,) each."""

    texts: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True)
class ParallelSentences:
    """The same n sentences in several languages, by language."""

    sentences: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class RankedLists:
    """Queries with the passages to rank for each, and the grade of each passage."""

    queries: Sequence[str]
    passages: Sequence[Sequence[str]]
    grades: Sequence[Sequence[float]]
