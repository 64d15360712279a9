"""Held-out positives depend on ids and the seed only."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Store
from recipekit.component import Context, Slot, SourceSpec
from recipekit.dataset import Dataset
from recipekit.records import Label, Passage, Query
from recipekit.registry import Entry
from recipekit.stages.collect.collect import collect
from recipekit.stages.collect.section import CollectSection, HoldoutPositives
from recipekit.stages.inputs import StageInputs
from recipekit.testing import RecordingProgress

QUERIES, PASSAGES = 40, 12


class Graded(SourceSpec):
    """40 queries, half of them in train, each with 12 positives of grades 1 to 3 and a negative."""

    shuffle: int = 0
    extra: int = 0

    counts: ClassVar[dict[str, int]] = {}

    def located(self) -> Iterator[Any]:
        return iter(())

    def build(self, context: Context) -> "Graded":
        return self

    def load(self) -> Iterator[Any]:
        records: list[Any] = [
            Passage(f"p{i}", f"text {i}") for i in range(PASSAGES + 1 + self.extra)
        ]
        records += [
            Query(f"q{i}", f"query {i}", "train" if i % 2 else "test") for i in range(QUERIES)
        ]
        records += [
            Label(f"q{i}", f"p{p}", 1.0 + (i + p) % 3)
            for i in range(QUERIES)
            for p in range(PASSAGES)
        ]
        records += [Label(f"q{i}", f"p{PASSAGES}", 0.0) for i in range(QUERIES)]
        if self.shuffle:
            random.Random(self.shuffle).shuffle(records)
        return iter(records)


def collected(
    tmp_path: Path, holdout: HoldoutPositives | None, *, seed: int = 13, **keys: Any
) -> tuple[dict[tuple[str, str], float], dict[str, Any]]:
    """Return the remaining labels by ids, and the summary."""
    slot = Slot(use="graded")
    slot.bind(Entry("source", "graded", "tests", "0", "tests:Graded"), Graded(**keys))
    out = tmp_path / f"collect-{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    inputs = StageInputs(
        "test", seed, {}, {}, None, Store(tmp_path / "store"), FileHashes(), RecordingProgress()
    )
    summary = collect(
        inputs, CollectSection(sources={"graded": slot}, holdout_positives=holdout), out
    )
    data = Dataset(out, "key")
    rows = data.labels.to_pylist()
    return {
        (data.queries.ids[row["query"]], data.passages.ids[row["passage"]]): row["grade"]
        for row in rows
    }, summary


def positives(labels: dict[tuple[str, str], float]) -> Counter[str]:
    return Counter(query for query, passage in labels if labels[query, passage] > 0)


@pytest.mark.parametrize("keep", [1, 3])
def test_train_queries_keep_some_positives_and_other_queries_keep_all(tmp_path, keep):
    labels, summary = collected(tmp_path, HoldoutPositives(keep=keep))
    assert positives(labels) == {f"q{i}": keep if i % 2 else PASSAGES for i in range(QUERIES)}
    assert sum(grade == 0 for grade in labels.values()) == QUERIES, "negatives are kept"
    assert summary["hidden"] == {"positives": 20 * (PASSAGES - keep), "queries": 20}
    assert summary["labels"]["positive"] == 20 * (PASSAGES + keep)
    assert summary["notes"] == [
        f"{20 * (PASSAGES - keep)} source positives of 20 train queries were held out on purpose "
        f"(`collect.holdout_positives`): each query kept at most {keep}, at random"
    ]


def test_every_positive_is_kept_equally_often(tmp_path):
    kept = Counter(
        pair[1]
        for seed in range(10)
        for pair, grade in collected(
            tmp_path, HoldoutPositives(splits=("train", "test")), seed=seed
        )[0].items()
        if grade > 0
    )
    assert sum(kept.values()) == 10 * QUERIES
    assert all(15 <= kept[f"p{i}"] <= 55 for i in range(PASSAGES)), (
        "expected 33 each, standard deviation 5.5"
    )


def test_the_highest_grades_are_kept_and_ties_are_random(tmp_path):
    first, second = (
        collected(tmp_path, HoldoutPositives(keep=3, by="grade"), seed=seed)[0] for seed in (13, 14)
    )
    train = {pair: grade for pair, grade in first.items() if grade > 0 and int(pair[0][1:]) % 2}
    assert set(train.values()) == {3.0}
    assert first.keys() != second.keys()


@pytest.mark.parametrize("by", ["random", "grade"])
def test_order_and_other_data_do_not_change_the_choice(tmp_path, by):
    holdout = HoldoutPositives(keep=2, by=by)
    expected = collected(tmp_path, holdout)[0]
    assert collected(tmp_path, holdout, shuffle=5, extra=3)[0] == expected
    assert collected(tmp_path, holdout, seed=14)[0] != expected


def test_without_holdout_positives_the_summary_has_no_note(tmp_path):
    labels, summary = collected(tmp_path, None)
    assert (
        len(labels) == QUERIES * (PASSAGES + 1)
        and "hidden" not in summary
        and "notes" not in summary
    )
