"""Tested differences to a reference, adjusted together, and their words."""

from typing import Any

import pytest

from recipekit.comparison.verdicts import differences_to
from recipekit.evaluators.statistics import holm


def row(evaluator: str, system: str, metric: str, value: float | None, **more: Any) -> dict:
    return {
        "evaluator": evaluator,
        "split": "test",
        "system": system,
        "metric": metric,
        "value": value,
        **more,
    }


def paired(difference: float, p_value: float) -> dict[str, float]:
    low, high = difference - 0.02, difference + 0.05
    return {"difference": difference, "low": low, "high": high, "p_value": p_value}


ROWS = [
    row("a", "better", "ndcg@10", 0.7),
    row("a", "worse", "ndcg@10", 0.3),
    row("a", "made", "ndcg@10", 0.4),
    row("a", "base", "ndcg@10", 0.5, differences={
        "better": paired(-0.2, 0.001), "worse": paired(0.2, 0.002), "made": paired(0.1, 0.003),
    }),
    row("b", "better", "spearman", 0.5),
    row("b", "worse", "spearman", 0.6),
    row("b", "base", "spearman", 0.6, differences={
        "better": paired(0.1, 0.04), "worse": paired(0.0, 1.0),
    }),
    row("c", "better", "score", 0.9),
    row("c", "worse", "score", None),
    row("c", "base", "score", 0.8),
]  # fmt: skip


def test_differences_are_of_the_model_minus_the_reference() -> None:
    found = differences_to(ROWS, "base", lambda name: False)
    first = found[0]
    assert (first.model, first.reference, first.metric) == ("better", "base", "ndcg@10")
    assert first.difference == pytest.approx(0.2)
    assert (first.low, first.high) == (pytest.approx(0.15), pytest.approx(0.22))
    assert "base" not in [each.model for each in found]


def test_p_values_are_adjusted_for_all_evaluators_together() -> None:
    found = differences_to(ROWS, "base", lambda name: False)
    with_p = [each for each in found if each.p_value is not None]
    assert [each.p_adjusted for each in with_p] == holm([0.001, 0.002, 0.003, 0.04, 1.0])


def test_a_loss_of_what_was_made_from_the_reference_is_a_regression() -> None:
    found = differences_to(ROWS, "base", lambda name: name == "made")
    assert {(each.model, each.metric): each.verdict for each in found} == {
        ("better", "ndcg@10"): "win",
        ("worse", "ndcg@10"): "loss",
        ("made", "ndcg@10"): "regression",
        ("better", "spearman"): "not significant",
        ("worse", "spearman"): "not significant",
        ("better", "score"): "not tested",
    }


def test_single_language_pairs_are_adjusted_apart() -> None:
    pairs = [("en", "de"), ("de", "en")]
    rows = [
        *ROWS,
        *(row("d", "better", f"accuracy {a}-{b}", 0.6, languages=[a, b]) for a, b in pairs),
        *(
            row("d", "base", f"accuracy {a}-{b}", 0.5, languages=[a, b], differences={
                "better": paired(-0.1, p),
            })
            for (a, b), p in zip(pairs, (0.01, 0.04), strict=True)
        ),
    ]  # fmt: skip
    found = differences_to(rows, "base", lambda name: False)
    main = [test for test in found if test.languages is None]
    assert main == differences_to(ROWS, "base", lambda name: False)
    assert [test.p_adjusted for test in found if test.languages] == holm([0.01, 0.04])
