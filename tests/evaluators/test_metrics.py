"""Metrics per query, compared with definitions written out in Python."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipekit.component import Hits
from recipekit.evaluators.metrics import per_query_metrics, with_positives
from recipekit.tables import LABELS

NAMES = ["ndcg@3", "ndcg@10", "map@5", "mrr@2", "mrr@10", "recall@3", "precision@4"]


def labels_of(grades: dict[tuple[int, int], float]) -> pa.Table:
    pairs = sorted(grades)
    return pa.table(
        [[q for q, _ in pairs], [p for _, p in pairs], [grades[pair] for pair in pairs]],
        schema=LABELS,
    )


def by_hand(ranking: list[int], grades: dict[int, float], name: str) -> float:
    metric, cut = name.split("@")
    k = int(cut)
    gains = [max(grades.get(passage, 0), 0) for passage in ranking[:k]]
    positives = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    relevant = [gain > 0 for gain in gains]
    if metric == "ndcg":
        return sum(g / math.log2(i + 2) for i, g in enumerate(gains)) / sum(
            g / math.log2(i + 2) for i, g in enumerate(positives[:k])
        )
    if metric == "map":
        return sum(sum(relevant[: i + 1]) / (i + 1) for i, hit in enumerate(relevant) if hit) / len(
            positives
        )
    if metric == "mrr":
        return next((1 / (i + 1) for i, hit in enumerate(relevant) if hit), 0.0)
    return sum(relevant) / (len(positives) if metric == "recall" else k)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_metric_equals_its_definition(data: st.DataObject):
    queries = data.draw(st.integers(1, 4))
    rankings = [
        data.draw(st.permutations(range(12)))[: data.draw(st.integers(0, 12))]
        for _ in range(queries)
    ]
    grade = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0])
    grades = [
        {p: data.draw(grade) for p in range(12)} | {data.draw(st.integers(0, 11)): 1.0}
        for _ in range(queries)
    ]
    rows = np.array([ranking + [-1] * (12 - len(ranking)) for ranking in rankings], dtype=np.int32)
    # The order is the ranking, even if all scores are equal.
    hits = Hits(rows, np.zeros(rows.shape, dtype=np.float32))
    labels = labels_of({(q * 3, p): g for q in range(queries) for p, g in grades[q].items()})

    found = per_query_metrics(hits, np.arange(queries) * 3, labels, NAMES)

    for name in NAMES:
        assert found[name] == pytest.approx(
            [by_hand(r, g, name) for r, g in zip(rankings, grades, strict=True)]
        ), name


def test_fractional_grades_are_not_rounded():
    hits = Hits(np.array([[4, 5, 6]], dtype=np.int32), np.array([[3, 2, 1]], dtype=np.float32))
    grades = {4: 0.25, 6: 0.75, 7: 0.5}
    found = per_query_metrics(
        hits,
        np.array([0]),
        labels_of({(0, p): g for p, g in grades.items()}),
        ["ndcg@3", "recall@3"],
    )
    assert found["ndcg@3"] == pytest.approx([by_hand([4, 5, 6], grades, "ndcg@3")])
    assert found["recall@3"] == pytest.approx([2 / 3])


def test_queries_without_a_positive_have_no_value():
    labels = labels_of({(1, 0): 1.0, (2, 0): 0.0})
    queries = np.array([2, 1, 0])
    hits = Hits(np.zeros((3, 1), dtype=np.int32), np.ones((3, 1), dtype=np.float32))
    np.testing.assert_array_equal(
        per_query_metrics(hits, queries, labels, ["mrr@1"])["mrr@1"], [np.nan, 1.0, np.nan]
    )
    assert with_positives(queries, labels).tolist() == [1]


def test_many_queries_keep_their_order():
    count = 2500  # more than one block
    labels = labels_of({(q, q % 7): 1.0 for q in range(count)})
    hits = Hits(
        np.tile(np.arange(7, dtype=np.int32), (count, 1)), np.zeros((count, 7), dtype=np.float32)
    )
    order = np.random.default_rng(0).permutation(count)
    found = per_query_metrics(hits, order, labels, ["mrr@10"])["mrr@10"]
    np.testing.assert_allclose(found, 1 / (order % 7 + 1))
