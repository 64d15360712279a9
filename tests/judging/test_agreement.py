"""Agreement, Cohen's kappa and error rates against worked examples and against simulation."""

import numpy as np
import pytest

from recipekit.judging.agreement import FIGURES, agreement, kappa, wilson
from recipekit.judging.labelling_sample import sample_strata
from recipekit.records import Verdict

P, N, IGNORE, U = (int(Verdict[name]) for name in ("POSITIVE", "NEGATIVE", "IGNORE", "UNJUDGED"))


def codes(*counts: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and verdicts from (label, verdict, how often)."""
    truth = [label for label, _, n in counts for _ in range(n)]
    verdict = [code for _, code, n in counts for _ in range(n)]
    return np.array(truth, np.int8), np.array(verdict, np.int8)


def test_figures_equal_those_of_a_textbook_example():
    # 20 and 15 on the diagonal of 50: p_o = 0.7, p_e = 0.5, kappa = 0.4; its standard error is a
    # textbook one (Fleiss 1981).
    figures = agreement(*codes((P, P, 20), (P, N, 5), (N, P, 10), (N, N, 15)))
    assert figures["pairs"] == 50
    assert figures["kappa"]["value"] == pytest.approx(0.4)
    assert figures["agreement"]["value"] == pytest.approx(0.7)
    assert figures["false_positive_rate"]["value"] == pytest.approx(10 / 25)
    assert figures["false_negative_rate"]["value"] == pytest.approx(5 / 25)
    assert figures["unmeasured"] == {}


def test_the_interval_of_kappa_is_as_wide_as_simulation_says():
    table = np.array([[60, 15], [20, 105]])
    draws = (
        np.random.default_rng(1)
        .multinomial(200, table.ravel() / 200, size=20_000)
        .reshape(-1, 2, 2)
    )
    simulated = np.std([kappa(draw)["value"] for draw in draws[:4000]])
    figures = kappa(table)
    assert (figures["high"] - figures["low"]) / (2 * 1.96) == pytest.approx(simulated, rel=0.05)


def test_full_agreement_still_has_an_interval():
    figures, more = kappa(np.array([[30, 0], [0, 30]])), kappa(np.array([[300, 0], [0, 300]]))
    assert (figures["value"], figures["high"]) == (1.0, 1.0)
    assert 0.9 < figures["low"] < more["low"] < 1


def test_weights_change_figures_only_where_they_differ():
    truth, verdict = codes((P, P, 30), (P, N, 10), (N, N, 40))
    same, double = (
        agreement(truth, verdict),
        agreement(truth, verdict, np.full(80, 2.0, np.float32)),
    )
    assert double == same, "a common factor changes nothing"
    uneven = agreement(truth, verdict, np.where(verdict == P, 1.0, 5.0).astype(np.float32))
    assert uneven["false_negative_rate"]["value"] == pytest.approx(50 / 80)
    assert uneven["table"] == same["table"]
    low, high = uneven["false_negative_rate"]["low"], uneven["false_negative_rate"]["high"]
    assert 0.45 < low < 50 / 80 < high < 0.8


def test_the_wilson_interval_stays_between_0_and_1_and_equals_a_textbook_value():
    assert wilson(0, 10) == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.2775, abs=1e-4)}
    assert wilson(5, 10) == {
        "value": 0.5,
        "low": pytest.approx(0.2366, abs=1e-4),
        "high": pytest.approx(0.7634, abs=1e-4),
    }
    assert wilson(0, 0) is None


def test_ignored_pairs_are_shown_and_are_neither_agreement_nor_error():
    figures = agreement(
        *codes(
            (P, P, 8), (P, IGNORE, 2), (N, N, 9), (N, P, 1), (IGNORE, P, 5), (P, U, 7), (U, N, 3)
        )
    )
    assert figures["pairs"] == 20
    assert figures["labelled_ignore"] == 5
    assert figures["table"] == {
        "positive": {"negative": 0, "positive": 8, "ignore": 2},
        "negative": {"negative": 9, "positive": 1, "ignore": 0},
    }
    assert figures["agreement"]["value"] == pytest.approx(17 / 18)
    assert figures["decided_share"]["value"] == pytest.approx(0.9)
    assert figures["false_negative_rate"]["value"] == 0.0
    assert figures["false_positive_rate"]["value"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("counts", "missing"),
    [
        (
            [(P, P, 3), (P, N, 1)],
            {
                "kappa": "no labelled negative was judged",
                "false_positive_rate": "no labelled negative was judged",
            },
        ),
        (
            [(N, N, 3)],
            {
                "kappa": "no labelled positive was judged",
                "false_negative_rate": "no labelled positive was judged",
            },
        ),
        (
            [(P, IGNORE, 2), (N, N, 2)],
            {"kappa": "every labelled positive, or every labelled negative, was ignored"},
        ),
        (
            [(P, U, 2)],
            dict.fromkeys(FIGURES, "no labelled pair was judged"),
        ),
    ],
)
def test_an_unmeasured_figure_is_none_with_its_reason(counts, missing):
    figures = agreement(*codes(*counts))
    assert figures["unmeasured"] == missing
    assert all(figures[name] is None for name in missing)


def test_intervals_of_a_weighted_sample_contain_the_truth():
    generator = np.random.default_rng(0)
    verdict = generator.random(20_000) < 0.05
    truth = np.where(verdict, generator.random(20_000) < 0.6, generator.random(20_000) < 0.02)
    whole = agreement(truth.astype(np.int8), verdict.astype(np.int8))
    contained = dict.fromkeys(("kappa", "false_negative_rate", "agreement"), 0)
    for seed in range(40):
        drawn, weight = sample_strata(verdict.astype(np.int64), 300, np.random.default_rng(seed))
        figures = agreement(truth[drawn].astype(np.int8), verdict[drawn].astype(np.int8), weight)
        for name in contained:
            contained[name] += figures[name]["low"] <= whole[name]["value"] <= figures[name]["high"]
    assert all(count >= 34 for count in contained.values()), contained
