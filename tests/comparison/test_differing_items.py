"""The items of files on which two models differ most."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipekit.comparison.describe_differing import side_by_side
from recipekit.comparison.differing import DifferingQuery
from recipekit.comparison.differing_items import RANK_AGREEMENT, differing_items
from recipekit.evaluators.bitext import BitextSpec
from recipekit.evaluators.evaluation_file import EvaluationFile
from recipekit.evaluators.pairs import PairsEvaluatorSpec
from recipekit.evaluators.per_query_file import write_per_query
from recipekit.evaluators.reranking import RerankingSpec
from recipekit.evaluators.sts import StsSpec
from recipekit.evaluators.triplets import TripletsEvaluatorSpec


def file_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    file = folder / "items.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def found_in(
    folder: Path, spec: EvaluationFile, columns: list[str], old: list[Any], new: list[Any]
) -> list[DifferingQuery]:
    """What differs, with the values of every item by two systems."""
    values = {"old": np.array(old, float), "new": np.array(new, float)}
    if values["old"].ndim == 1:
        values = {name: each[:, None] for name, each in values.items()}
    write_per_query(folder, np.arange(len(old)), columns, values)
    return differing_items(folder, spec, folder, "evaluated", ["new"], "old")


def test_pairs_are_compared_by_their_ranks(tmp_path: Path) -> None:
    rows = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": n} for n in range(3)]
    spec = StsSpec(file=file_of(tmp_path, rows))
    # The old model has the order 2, 1, 0, and the new one, on another scale, 0, 1, 2.
    old, new = [[0.9, 0], [0.8, 1], [0.7, 2]], [[-5, 0], [-4, 1], [-3, 2]]
    first, second = found_in(tmp_path, spec, ["similarity_cosine", "score"], old, new)
    assert (first.metric, first.reference_value, first.value) == (RANK_AGREEMENT, 0.0, 1.0)
    assert (first.id, first.query, second.query) == ("1", "a0", "a2")
    assert list(second.parts) == [
        ("first", "a2"),
        ("second", "b2"),
        ("score", "2"),
        ("similarity by old", "0.700"),
        ("similarity by new", "-3.000"),
    ]
    table = side_by_side(second)
    assert table.header == ["item 3", "new against old"]
    assert ["score", "2"] in table.rows


def test_labelled_pairs_should_be_at_either_end(tmp_path: Path) -> None:
    rows = [{"sentence1": f"a{n}", "sentence2": "b", "label": n % 2} for n in range(3)]
    spec = PairsEvaluatorSpec(file=file_of(tmp_path, rows))
    old, new = [[0.9, 0], [0.1, 1], [0.2, 0]], [[0.1, 0], [0.2, 1], [0.9, 0]]
    won, also_won, lost = found_in(tmp_path, spec, ["similarity_cosine", "label"], old, new)
    assert [(each.query, each.difference) for each in (won, also_won, lost)] == [
        ("a0", 1.0),
        ("a1", 0.5),
        ("a2", -0.5),
    ]
    assert ("label", "positive") in also_won.parts and ("label", "negative") in lost.parts


@pytest.mark.parametrize(
    ("spec", "keys", "row", "parts"),
    [
        (
            TripletsEvaluatorSpec,
            {},
            {"anchor": "a", "positive": "p", "negative": "n"},
            [("anchor", "a"), ("positive", "p"), ("negative", "n")],
        ),
        (
            RerankingSpec,
            {},
            {"query": "q", "positive": ["p", "r"], "negative": "n"},
            [("query", "q"), ("positive", "p"), ("positive", "r")],
        ),
        (
            BitextSpec,
            {"languages": {"en": "english", "de": "german"}},
            {"english": "moon", "german": "Mond"},
            [("en", "moon"), ("de", "Mond")],
        ),
    ],
)
def test_other_items_are_compared_by_their_first_metric(
    tmp_path: Path, spec: Any, keys: dict[str, Any], row: dict[str, Any], parts: list[Any]
) -> None:
    other = {name: f"{text}2" if isinstance(text, str) else text for name, text in row.items()}
    made = spec(file=file_of(tmp_path, [row, other]), **keys)
    (only,) = found_in(tmp_path, made, ["accuracy"], [0.0, 1.0], [1.0, 1.0])
    assert (only.metric, only.id, only.difference) == ("accuracy", "1", 1.0)
    assert list(only.parts) == parts
