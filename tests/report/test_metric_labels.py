"""Reports name metrics in words; files keep the keys."""

import pytest

from recipekit.report.metric_labels import metric_label
from recipekit.report.metrics import (
    differences_table,
    evaluator_metrics,
    headline,
    metrics_figure,
    metrics_table,
)


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("spearman_cosine", "Spearman (cosine)"),
        ("pearson_dot", "Pearson (dot)"),
        ("accuracy_euclidean", "accuracy (euclidean)"),
        ("ap_cosine", "average precision (cosine)"),
        ("f1_cosine", "F1 (cosine)"),
        ("STSBenchmark cosine_spearman", "STSBenchmark Spearman (cosine)"),
        ("NFCorpus ndcg_at_10", "NFCorpus ndcg@10"),
        ("map_at_1000", "map@1000"),
        ("TwitterURLCorpus max_ap", "TwitterURLCorpus average precision (best similarity)"),
        ("v_measure", "V-measure"),
        ("ndcg@10", "ndcg@10"),
        ("f1 de-en", "f1 de-en"),
        ("mean", "mean"),
        ("my_accuracy_cosine_like", "my_accuracy_cosine_like"),
    ],
)
def test_a_key_has_a_label(key: str, label: str) -> None:
    assert metric_label(key) == label


def test_tables_charts_and_the_headline_have_labels() -> None:
    key = "spearman_cosine"
    test = {"difference": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.001, "p_adjusted": 0.001}
    rows = [
        {"evaluator": "sts", "system": "untrained", "metric": key, "value": 0.5},
        {
            "evaluator": "sts",
            "system": "trained",
            "metric": key,
            "value": 0.6,
            "differences": {"untrained": test},
        },
    ]
    [measured] = evaluator_metrics(rows)
    assert metrics_table(measured).header == ["system", "Spearman (cosine)"]
    differences = differences_table(measured, metrics=[key])
    assert differences is not None and differences.rows[0][1] == "Spearman (cosine)"
    main, drawn = headline(measured), metrics_figure(measured)
    assert main is not None and main.sentence.startswith("Spearman (cosine) rises from 0.500")
    assert drawn is not None and (drawn.title, drawn.x, list(drawn.series)) == (
        "Spearman (cosine) by system (sts)",
        "Spearman (cosine)",
        ["Spearman (cosine)"],
    )
