"""Passages with a query's own text."""

import numpy as np
import pytest

from recipekit import own_texts as module
from recipekit.own_texts import own_texts


def pairs(found) -> list[tuple[int, int]]:
    return list(zip(found.query.tolist(), found.passage.tolist(), strict=True))


QUERIES = [
    ("a", "how high is the tide", "train"),
    ("b", "the height of the tide", "train"),
    ("c", "the height of the tide", "test"),
    ("d", "How high is the tide", "test"),
    ("e", "nothing like it", "dev"),
]
PASSAGES = [
    ("p", "the height of the tide"),
    ("q", "how high is the tide"),
    ("r", "something else"),
    ("s", "how high is the tide"),
]


@pytest.mark.parametrize("block", [2, 1 << 18])
def test_every_unlabelled_pair_of_equal_texts_is_found(make_dataset, monkeypatch, block) -> None:
    monkeypatch.setattr(module, "PASSAGES_PER_BLOCK", block)
    dataset = make_dataset(QUERIES, PASSAGES, {(0, 0): 1.0})
    found = own_texts(dataset)
    assert found.n_queries == 5
    assert pairs(found) == [(0, 1), (0, 3), (1, 0), (2, 0)]
    assert pairs(found.take(np.array([2, 4]))) == [(0, 0)]


@pytest.mark.parametrize("grade", [1.0, 0.0])
def test_a_labelled_pair_keeps_its_label(make_dataset, grade) -> None:
    dataset = make_dataset(QUERIES, PASSAGES, {(0, 3): grade, (1, 0): grade, (4, 2): 1.0})
    assert pairs(own_texts(dataset)) == [(0, 1), (2, 0)]


def test_title_and_text_are_one_text(make_dataset, tmp_path) -> None:
    from recipekit.tables import PASSAGES as SCHEMA
    from recipekit.tables import write_table

    dataset = make_dataset(
        [("a", "Tides rise and fall", "train"), ("b", "Tides", "train")],
        [("p", "x"), ("q", "y"), ("r", "z")],
        {},
    )
    import pyarrow as pa

    columns = [
        ["p", "q", "r"],
        ["Tides", "Tides", ""],
        ["rise and fall", "", "Tides rise"],
        ["t"] * 3,
    ]
    by_name = dict(zip(("id", "title", "text", "source"), columns, strict=True))
    table = pa.table([by_name[name] for name in SCHEMA.names], schema=SCHEMA)
    write_table(dataset.path / "passages.arrow", SCHEMA, [table])
    texts = dataset.passages.texts([0, 1, 2])
    assert texts == ["Tides rise and fall", "Tides", "Tides rise"]
    assert pairs(own_texts(dataset)) == [(0, 0), (1, 1)]


def test_no_passage_has_the_text_of_a_query(tiny_dataset) -> None:
    found = own_texts(tiny_dataset)
    assert len(found) == 0 and found.n_queries == len(tiny_dataset.queries)
