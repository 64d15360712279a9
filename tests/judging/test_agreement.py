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
    said = [verdict for _, verdict, n in counts for _ in range(n)]
    return np.array(truth, np.int8), np.array(said, np.int8)


def test_a_worked_example():
    # 20 and 15 on the diagonal of 50: p_o = 0.7, p_e = 0.5, kappa = 0.4; its standard error is a
    # textbook one (Fleiss 1981).
    told = agreement(*codes((P, P, 20), (P, N, 5), (N, P, 10), (N, N, 15)))
    assert told["pairs"] == 50
    assert told["kappa"]["value"] == pytest.approx(0.4)
    assert told["agreement"]["value"] == pytest.approx(0.7)
    assert told["false_positive_rate"]["value"] == pytest.approx(10 / 25)
    assert told["false_negative_rate"]["value"] == pytest.approx(5 / 25)
    assert told["unmeasured"] == {}


def test_the_interval_of_kappa_is_as_wide_as_simulation_says():
    table = np.array([[60, 15], [20, 105]])
    draws = (
        np.random.default_rng(1)
        .multinomial(200, table.ravel() / 200, size=20_000)
        .reshape(-1, 2, 2)
    )
    simulated = np.std([kappa(draw)["value"] for draw in draws[:4000]])
    told = kappa(table)
    assert (told["high"] - told["low"]) / (2 * 1.96) == pytest.approx(simulated, rel=0.05)


def test_where_all_agree_an_interval_remains():
    told, more = kappa(np.array([[30, 0], [0, 30]])), kappa(np.array([[300, 0], [0, 300]]))
    assert (told["value"], told["high"]) == (1.0, 1.0)
    assert 0.9 < told["low"] < more["low"] < 1


def test_weighted_pairs_are_worth_their_effective_number():
    truth, said = codes((P, P, 30), (P, N, 10), (N, N, 40))
    same, double = agreement(truth, said), agreement(truth, said, np.full(80, 2.0, np.float32))
    assert double == same, "a common factor changes nothing"
    uneven = agreement(truth, said, np.where(said == P, 1.0, 5.0).astype(np.float32))
    assert uneven["false_negative_rate"]["value"] == pytest.approx(50 / 80)
    assert uneven["table"] == same["table"]
    low, high = uneven["false_negative_rate"]["low"], uneven["false_negative_rate"]["high"]
    assert 0.45 < low < 50 / 80 < high < 0.8


def test_wilson_stays_between_0_and_1_and_knows_its_textbook_value():
    assert wilson(0, 10) == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.2775, abs=1e-4)}
    assert wilson(5, 10) == {
        "value": 0.5,
        "low": pytest.approx(0.2366, abs=1e-4),
        "high": pytest.approx(0.7634, abs=1e-4),
    }
    assert wilson(0, 0) is None


def test_ignored_pairs_are_shown_and_are_neither_agreement_nor_error():
    told = agreement(
        *codes(
            (P, P, 8), (P, IGNORE, 2), (N, N, 9), (N, P, 1), (IGNORE, P, 5), (P, U, 7), (U, N, 3)
        )
    )
    assert told["pairs"] == 20
    assert told["labelled_ignore"] == 5
    assert told["table"] == {
        "positive": {"negative": 0, "positive": 8, "ignore": 2},
        "negative": {"negative": 9, "positive": 1, "ignore": 0},
    }
    assert told["agreement"]["value"] == pytest.approx(17 / 18)
    assert told["decided_share"]["value"] == pytest.approx(0.9)
    assert told["false_negative_rate"]["value"] == 0.0
    assert told["false_positive_rate"]["value"] == pytest.approx(0.1)


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
def test_what_cannot_be_measured_is_null_with_its_reason(counts, missing):
    told = agreement(*codes(*counts))
    assert told["unmeasured"] == missing
    assert all(told[name] is None for name in missing)


def test_intervals_of_an_uneven_sample_hold_the_truth():
    generator = np.random.default_rng(0)
    said = generator.random(20_000) < 0.05
    truth = np.where(said, generator.random(20_000) < 0.6, generator.random(20_000) < 0.02)
    whole = agreement(truth.astype(np.int8), said.astype(np.int8))
    held = dict.fromkeys(("kappa", "false_negative_rate", "agreement"), 0)
    for seed in range(40):
        drawn, weight = sample_strata(said.astype(np.int64), 300, np.random.default_rng(seed))
        told = agreement(truth[drawn].astype(np.int8), said[drawn].astype(np.int8), weight)
        for name in held:
            held[name] += told[name]["low"] <= whole[name]["value"] <= told[name]["high"]
    assert all(count >= 34 for count in held.values()), held
