"""Two ranks train as one does: batch sizes are global, and losses are means over global batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.ranks import run_on_cpu_ranks
from helpers.train_on_ranks import SECTIONS, train_all
from recipekit.component import SingleProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(make_dataset, tiny_dataset):
    """The tiny data set without one train query's positive: 11 train in batches of 5, 5 and 1."""
    text = tiny_dataset.queries.table.to_pylist()
    queries = [(row["id"], row["text"], ("train", "dev", "test")[row["split"]]) for row in text]
    passages = [(row["id"], row["text"]) for row in tiny_dataset.passages.table.to_pylist()]
    return make_dataset(queries, passages, {(i, i): 1.0 for i in range(24) if i != 4})


def test_two_ranks_train_as_one_with_equal_numbers_of_forward_passes(
    tmp_path: Path, tiny_model: Path, dataset
):
    run_on_cpu_ranks(2, "train_on_ranks", [tiny_model, dataset.path, tmp_path / "two"])
    train_all(tiny_model, dataset.path, tmp_path / "one", SingleProcess())
    first, second = (
        json.loads((tmp_path / "two" / f"passes-{rank}.json").read_text()) for rank in range(2)
    )
    assert first == second
    for name in SECTIONS:
        one, two = (
            json.loads((tmp_path / ranks / name / "training.json").read_text())
            for ranks in ("one", "two")
        )
        assert one["tokens"] == two["tokens"]
        assert [point["loss"] for point in one["curve"]] == pytest.approx(
            [point["loss"] for point in two["curve"]], rel=2e-3
        )
        assert [point["gradient_norm"] for point in one["curve"]][:3] == pytest.approx(
            [point["gradient_norm"] for point in two["curve"]][:3], rel=2e-3
        )
        assert [point["value"] for point in one["dev"]["points"]] == pytest.approx(
            [point["value"] for point in two["dev"]["points"]], abs=2e-3
        )
