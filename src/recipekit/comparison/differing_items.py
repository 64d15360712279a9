"""The items of a file that a model gets right or wrong most, against the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from recipekit.comparison.differing import DifferingQuery, most_changed
from recipekit.comparison.item_values import ItemValues, read_item_values
from recipekit.evaluators.data_kinds import (
    LabelledPairs,
    ParallelSentences,
    RankedLists,
    ScoredPairs,
    Triplets,
)
from recipekit.evaluators.evaluation_file import EvaluationFile
from recipekit.evaluators.item_statistics import LABEL, SCORE, similarity_column
from recipekit.evaluators.pair_statistics import ranks
from recipekit.evaluators.per_query_file import PER_QUERY_FILE
from recipekit.report.numbers import excerpt

__all__ = ["RANK_AGREEMENT", "differing_items"]

Values = npt.NDArray[np.float64]
Named = tuple[str, str]
"""A part of an item, such as its first text, with its name."""

RANK_AGREEMENT: Final = "rank agreement"
"""The value of a pair: 1 minus the distance between its rank by similarity and its rank by score,
each from 0 to 1. A label is the rank 1 or 0. Similarities of two models have different scales."""
SHOWN_POSITIVES: Final = 3


def differing_items(
    folder: Path,
    spec: EvaluationFile,
    scratch: Path,
    evaluator: str,
    models: Sequence[str],
    reference: str,
) -> list[DifferingQuery]:
    """Return the items won and lost most by each model, those with the largest difference first.

    Args:
        folder: The files of an evaluator, with `per_query.arrow`.
        spec: The evaluator's file.
        scratch: A folder for what is decompressed.
        evaluator: Its name.
        models: The names of the models.
        reference: The name of the reference.
    """
    file = folder / PER_QUERY_FILE
    before = read_item_values(file, reference)
    if before is None:
        return []
    metric, old = _values(before)
    data = spec.read(scratch)
    found = []
    for model in models:
        after = read_item_values(file, model)
        if after is None:
            continue
        _, new = _values(after)
        change = dict(enumerate((new - old).tolist()))
        for item in most_changed(change):
            parts = list(_parts(data, item))
            own = {reference: before, model: after}
            found.append(
                DifferingQuery(
                    evaluator,
                    metric,
                    model,
                    reference,
                    id=str(item + 1),
                    query=parts[0][1],
                    value=float(new[item]),
                    reference_value=float(old[item]),
                    passages=[],
                    reference_passages=[],
                    parts=[*parts, *_similarities(own, item)],
                )
            )
    return found


def _values(known: ItemValues) -> tuple[str, Values]:
    """Return the name of what decides, and how right each item is by it, (n,)."""
    columns = known.columns
    similarity = _similarity(known)
    if similarity is None:
        metric = next(iter(columns))
        return metric, columns[metric]
    wanted = columns[LABEL] if LABEL in columns else _scaled_ranks(columns[SCORE])
    return RANK_AGREEMENT, 1 - np.abs(_scaled_ranks(columns[similarity]) - wanted)


def _similarity(known: ItemValues) -> str | None:
    """The column of the first similarity of pairs; None for other items."""
    names = (name for name in known.columns if name.startswith(similarity_column("")))
    return next(names, None) if known.columns.keys() & {LABEL, SCORE} else None


def _scaled_ranks(values: Values) -> Values:
    """Ranks from 0 to 1, (n,); equal values have their mean rank."""
    found: Values = ranks(values, np.ones((1, len(values))))[0]
    return (found - 1) / max(len(values) - 1, 1)


def _similarities(own: dict[str, ItemValues], item: int) -> Iterator[Named]:
    for system, known in own.items():
        column = _similarity(known)
        if column is not None:
            yield f"similarity by {system}", f"{known.columns[column][item]:.3f}"


def _parts(data: object, item: int) -> Iterator[Named]:
    """Yield the texts of an item, and its score or label, the main text first."""
    named: list[Named] = []
    match data:
        case ScoredPairs(first, second, scores):
            named = [("first", first[item]), ("second", second[item])]
            named.append(("score", f"{scores[item]:g}"))
        case LabelledPairs(first, second, labels):
            named = [("first", first[item]), ("second", second[item])]
            named.append(("label", "positive" if labels[item] else "negative"))
        case Triplets(anchor, positive, negative):
            named = [("anchor", anchor[item]), ("positive", positive[item])]
            named.append(("negative", negative[item]))
        case ParallelSentences(sentences):
            named = [(language, texts[item]) for language, texts in sentences.items()]
        case RankedLists(queries, passages, grades):
            graded = zip(passages[item], grades[item], strict=True)
            relevant = [text for text, grade in graded if grade > 0]
            named = [("query", queries[item])]
            named += [("positive", text) for text in relevant[:SHOWN_POSITIVES]]
        case _:
            raise TypeError(f"unknown data: {type(data).__name__}")
    for name, text in named:
        yield name, excerpt(text, 200)
