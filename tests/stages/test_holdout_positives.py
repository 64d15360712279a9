"""Hiding source positives: which stay depends on ids and seed, on nothing else."""

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
    """40 queries, half of them for training, with 12 positives of the grades 1 to 3 and one judged
    negative each.
    """

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
    tmp_path: Path, hide: HoldoutPositives | None, *, seed: int = 13, **keys: Any
) -> tuple[dict[tuple[str, str], float], dict[str, Any]]:
    """The labels that are left, by ids, and the summary."""
    slot = Slot(use="graded")
    slot.bind(Entry("source", "graded", "tests", "0", "tests:Graded"), Graded(**keys))
    out = tmp_path / f"collect-{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    inputs = StageInputs(
        "test", seed, {}, {}, None, Store(tmp_path / "store"), FileHashes(), RecordingProgress()
    )
    summary = collect(inputs, CollectSection(sources={"graded": slot}, holdout_positives=hide), out)
    data = Dataset(out, "key")
    rows = data.labels.to_pylist()
    return {
        (data.queries.ids[row["query"]], data.passages.ids[row["passage"]]): row["grade"]
        for row in rows
    }, summary


def positives(labels: dict[tuple[str, str], float]) -> Counter[str]:
    return Counter(query for query, passage in labels if labels[query, passage] > 0)


@pytest.mark.parametrize("keep", [1, 3])
def test_train_queries_keep_so_many_positives_and_others_all(tmp_path, keep):
    labels, summary = collected(tmp_path, HoldoutPositives(keep=keep))
    assert positives(labels) == {f"q{i}": keep if i % 2 else PASSAGES for i in range(QUERIES)}
    assert sum(grade == 0 for grade in labels.values()) == QUERIES, "judged negatives stay"
    assert summary["hidden"] == {"positives": 20 * (PASSAGES - keep), "queries": 20}
    assert summary["labels"]["positive"] == 20 * (PASSAGES + keep)
    assert summary["notes"] == [
        f"{20 * (PASSAGES - keep)} source positives of 20 train queries were held out on purpose (`collect.holdout_positives`): "
        f"each query kept at most {keep}, at random"
    ]


def test_what_stays_is_one_of_them_as_likely_as_another(tmp_path):
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
        "33 expected of each, with a deviation of 5.5"
    )


def test_the_highest_grade_stays_and_ties_are_drawn(tmp_path):
    one, other = (
        collected(tmp_path, HoldoutPositives(keep=3, by="grade"), seed=seed)[0] for seed in (13, 14)
    )
    train = {pair: grade for pair, grade in one.items() if grade > 0 and int(pair[0][1:]) % 2}
    assert set(train.values()) == {3.0}
    assert one.keys() != other.keys()


@pytest.mark.parametrize("by", ["random", "grade"])
def test_order_and_other_data_decide_nothing(tmp_path, by):
    hide = HoldoutPositives(keep=2, by=by)
    once = collected(tmp_path, hide)[0]
    assert collected(tmp_path, hide, shuffle=5, extra=3)[0] == once
    assert collected(tmp_path, hide, seed=14)[0] != once


def test_a_recipe_that_hides_nothing_says_nothing_of_it(tmp_path):
    labels, summary = collected(tmp_path, None)
    assert (
        len(labels) == QUERIES * (PASSAGES + 1)
        and "hidden" not in summary
        and "notes" not in summary
    )
