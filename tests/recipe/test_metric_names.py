"""Metric names in recipes."""

import pytest
from pydantic import TypeAdapter, ValidationError

from recipekit.recipe.metrics import METRICS, MetricName, parse_metric


def test_a_metric_name_has_a_metric_and_a_cutoff():
    assert parse_metric("ndcg@10") == ("ndcg", 10)
    assert [parse_metric(f"{metric}@7") for metric in METRICS] == [
        (metric, 7) for metric in METRICS
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ndgc@10", "ndcg@10"),
        ("ndcg10", "ndcg@10"),
        ("nDCG@5", "ndcg@5"),
        ("ndcg_at_10", None),
        ("ndcg", "ndcg@10"),
        ("ndcg@0", "ndcg@10"),
        ("MRR@10", "mrr@10"),
        ("P@5", "precision@5"),
        ("recal@100", "recall@100"),
    ],
)
def test_an_unknown_metric_name_suggests_a_similar_one(written: str, meant: str | None):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(MetricName).validate_python(written)
    message = str(error.value)
    assert f"unknown metric '{written}'." in message
    assert (
        f"Did you mean '{meant}'?" if meant else "ndcg@K, map@K, mrr@K, recall@K, precision@K"
    ) in message
