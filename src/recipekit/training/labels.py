"""The labels that a phase trains on: positives, ignored pairs and hard negatives by query.

A judgment overrides the source's own label. A passage with the query's own text is ignored where
neither decided it. A pair that was retrieved but not judged is ignored or a negative, as the recipe
says. Every other pair is a negative and is not listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recipekit.arrays import Bools, Floats, Rows, lookup_sorted, pair_keys
from recipekit.component import PairScores, TrainingLabels
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.own_texts import own_texts
from recipekit.query_pairs import QueryPairs
from recipekit.records import Verdict

__all__ = ["LabelSelection", "training_labels"]

SOURCE = "source"
"""The judge of a source label."""


@dataclass(frozen=True)
class LabelSelection:
    """The queries and labels of a data set that a phase trains on."""

    splits: tuple[str, ...] = ("train",)
    """Splits whose queries are used."""
    sources: tuple[str, ...] | None = None
    """Sources whose queries are used, by their names in the recipe; None uses all."""
    labels: Literal["judged", "source"] = "judged"
    """`judged`: judgments, and source labels of pairs that no judge decided. `source`: source
    labels alone."""
    unjudged: Literal["ignore", "negative"] = "ignore"
    """What a candidate without a verdict is."""
    positive_weights: Literal["uniform", "grade"] = "uniform"
    """Whether a query's positives count the same or in proportion to their grades."""


@dataclass(frozen=True)
class _Decided:
    """Pairs with a verdict, sorted by key. The other columns are NaN where they have no value."""

    key: Rows
    verdict: npt.NDArray[np.int8]
    grade: Floats
    relevance: Floats
    """The grade, scaled to [0, 1] over all pairs of the same judge."""
    confidence: Floats


def training_labels(
    dataset: Dataset,
    *,
    candidates: pa.Table | None = None,
    judgments: pa.Table | None = None,
    own: QueryPairs | None = None,
    selection: LabelSelection = LabelSelection(),
) -> TrainingLabels:
    """Collect the labels of the selected queries.

    Args:
        dataset: The collected data; a source label with a grade of 0 or less is a negative.
        candidates: Mined candidates, as `CANDIDATES`, or None.
        judgments: Judgments, as `JUDGMENTS`, or None.
        own: `own_texts(dataset)`, if it is known. These pairs are ignored, unless a judgment or a
            source decided them.
        selection: Which queries and labels to use. A positive without a grade weighs 1.

    Raises:
        RunError: No selected query has a positive.
    """
    n_passages = len(dataset.passages)
    is_selected = _selected_queries(dataset, selection)
    decided = _decided(dataset, None if selection.labels == "source" else judgments, is_selected)
    found_key, found_score = _candidates(candidates, is_selected, n_passages)
    own = own_texts(dataset) if own is None else own
    own_key = pair_keys(own.query, own.passage, n_passages)
    ignored, negative = _ignored_and_negative(decided, found_key, own_key, selection.unjudged)
    is_positive = decided.verdict == Verdict.POSITIVE
    queries = np.unique(decided.key[is_positive] // n_passages).astype(np.int64)
    if len(queries) == 0:
        raise RunError(
            f"none of the {is_selected.sum():,} {' and '.join(selection.splits)} queries has a "
            "positive passage: there is nothing to train on",
            code="RK631",
        )
    number = np.full(len(dataset.queries), -1, dtype=np.int32)
    number[queries] = np.arange(len(queries), dtype=np.int32)

    def pairs(keys: Rows) -> QueryPairs:
        keys = keys[number[keys // n_passages] >= 0]
        passages = (keys % n_passages).astype(np.int32)
        return QueryPairs.from_sorted(number[keys // n_passages], passages, len(queries))

    negative = _hardest_first(negative, found_key, found_score, n_passages)
    negative = negative[number[negative // n_passages] >= 0]
    positive = pairs(decided.key[is_positive])
    return TrainingLabels(
        queries=queries,
        positive=positive,
        weight=_weights(positive, decided.grade[is_positive], selection),
        ignored=pairs(ignored),
        negative=pairs(negative),
        without_positive=int(is_selected.sum()) - len(queries),
        relevance=PairScores(
            decided.relevance[is_positive], _looked_up(decided, decided.relevance, negative)
        ),
        confidence=PairScores(
            decided.confidence[is_positive], _looked_up(decided, decided.confidence, negative)
        ),
        is_decided=lookup_sorted(decided.key, negative)[1],
    )


def _ignored_and_negative(
    decided: _Decided, found: Rows, own: Rows, unjudged: Literal["ignore", "negative"]
) -> tuple[Rows, Rows]:
    """Return the keys of the ignored pairs and of the listed negatives, ascending.

    Args:
        decided: The pairs with a verdict.
        found: Keys of the candidates.
        own: Keys of the passages with a query's own text.
        unjudged: What a candidate without a verdict is.
    """
    own = np.setdiff1d(own, decided.key)
    undecided = np.setdiff1d(found, np.concatenate([decided.key, own]))
    ignored = np.union1d(decided.key[decided.verdict == Verdict.IGNORE], own)
    negative = decided.key[decided.verdict == Verdict.NEGATIVE]
    if unjudged == "ignore":
        return np.union1d(ignored, undecided), negative
    return ignored, np.union1d(negative, undecided)


def _weights(positive: QueryPairs, grade: Floats, selection: LabelSelection) -> Floats:
    """Return the weight of each positive, which sum to 1 over each query."""
    weights = np.ones(len(positive))
    if selection.positive_weights == "grade":
        weights = np.where(grade > 0, grade, 1.0).astype(np.float64)
    return positive.normalized(weights)


def _looked_up(decided: _Decided, values: Floats, keys: Rows) -> Floats:
    """Return the values of some pairs; NaN for a pair without a verdict."""
    at, is_decided = lookup_sorted(decided.key, keys)
    found = np.full(len(keys), np.nan, dtype=np.float32)
    found[is_decided] = values[at[is_decided]]
    return found


def _selected_queries(dataset: Dataset, selection: LabelSelection) -> Bools:
    """Mask of the selected queries, (n_queries,)."""
    is_selected: Bools = np.zeros(len(dataset.queries), dtype=np.bool_)
    for split in selection.splits:
        is_selected[dataset.rows(split)] = True
    if selection.sources is not None:
        column = dataset.queries.table["source"]
        named = pc.is_in(column, pa.array(selection.sources, column.type))
        is_selected &= named.to_numpy().astype(np.bool_)
    return is_selected


def _decided(dataset: Dataset, judgments: pa.Table | None, is_selected: Bools) -> _Decided:
    """Judgments, and source labels of other pairs, of the selected queries."""
    tables = list(_verdicts(dataset, judgments, is_selected))
    # The judgments come first, and np.unique keeps the first of equal keys.
    keys, first = np.unique(np.concatenate([table.key for table in tables]), return_index=True)
    verdict = np.concatenate([table.verdict for table in tables])[first]
    values = (
        np.concatenate([getattr(table, name) for table in tables])[first]
        for name in ("grade", "relevance", "confidence")
    )
    return _Decided(keys, verdict, *values)


def _verdicts(
    dataset: Dataset, judgments: pa.Table | None, is_selected: Bools
) -> Iterator[_Decided]:
    n_passages = len(dataset.passages)
    if judgments is not None:
        rows = np.flatnonzero(is_selected[judgments["query"].to_numpy()])
        grade, confidence = (
            judgments[name].to_numpy().astype(np.float32)[rows] for name in ("grade", "confidence")
        )
        judge = judgments["judge"].combine_chunks().cast(pa.string()).fill_null(SOURCE)
        yield _Decided(
            _keys(judgments, rows, n_passages),
            judgments["verdict"].to_numpy()[rows],
            grade,
            _scaled(grade, np.asarray(judge.take(pa.array(rows)))),
            confidence,
        )
    rows = np.flatnonzero(is_selected[dataset.labels["query"].to_numpy()])
    grade = dataset.labels["grade"].to_numpy()[rows]
    verdict = np.where(grade > 0, np.int8(Verdict.POSITIVE), np.int8(Verdict.NEGATIVE))
    relevance = _scaled(grade, np.full(len(grade), SOURCE))
    unknown = np.full(len(grade), np.nan, dtype=np.float32)
    yield _Decided(_keys(dataset.labels, rows, n_passages), verdict, grade, relevance, unknown)


def _scaled(grade: Floats, judge: npt.NDArray[Any]) -> Floats:
    """Scale grades to [0, 1], each judge's from its lowest to its highest.

    Grades of the sources start at 0. A judge that gave every pair the same grade has no scale, and
    its pairs get NaN.
    """
    scaled = np.full(len(grade), np.nan, dtype=np.float32)
    for name in np.unique(judge):
        own = (judge == name) & np.isfinite(grade)
        if not own.any():
            continue
        low = 0.0 if name == SOURCE else float(grade[own].min())
        high = float(grade[own].max())
        if high > low:
            scaled[own] = np.clip((grade[own] - low) / (high - low), 0.0, 1.0)
    return scaled


def _candidates(
    candidates: pa.Table | None, is_selected: Bools, n_passages: int
) -> tuple[Rows, Floats]:
    """Keys of the selected queries' candidates, ascending, and their fused scores.

    The score is -inf for a source positive that no retriever found.
    """
    if candidates is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    rows = np.flatnonzero(is_selected[candidates["query"].to_numpy()])
    keys = _keys(candidates, rows, n_passages)
    scores = candidates["score"].to_numpy()[rows].astype(np.float32)
    order = np.argsort(keys, kind="stable")
    return keys[order], np.nan_to_num(scores, nan=-np.inf)[order]


def _keys(table: pa.Table, rows: Sequence[int] | npt.NDArray[Any], n_passages: int) -> Rows:
    query, passage = (table[name].to_numpy()[rows] for name in ("query", "passage"))
    return pair_keys(query, passage, n_passages)


def _hardest_first(negative: Rows, found: Rows, score: Floats, n_passages: int) -> Rows:
    """Sort negatives by query, then by descending fused score; unretrieved ones come last."""
    rank_score = np.full(len(negative), -np.inf, dtype=np.float32)
    at, is_found = lookup_sorted(found, negative)
    rank_score[is_found] = score[at[is_found]]
    return negative[np.lexsort((negative, -rank_score, negative // n_passages))]
