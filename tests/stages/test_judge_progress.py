"""The figures that are shown while a judge runs: shares of its verdicts and the remaining cost."""

import numpy as np

from recipekit.component import Verdicts
from recipekit.stages.judge.summary import LiveFigures


def verdicts(*codes: int) -> Verdicts:
    rows = np.arange(len(codes), dtype=np.int32)
    return Verdicts(rows, rows, np.array(codes, dtype=np.int8))


def test_verdicts_of_an_earlier_attempt_do_not_count_for_the_cost() -> None:
    live = LiveFigures(10)
    assert live.add(verdicts(1, 1), {}) == {"positive": "100%", "ignore": "0%"}
    live.start_attempt()
    assert live.add(verdicts(0, 2), {"usd": 1.0}) == {
        "positive": "50%",
        "ignore": "25%",
        "usd": 1.0,
        "remaining cost": "about $3.00",
    }
    assert "remaining cost" not in live.add(verdicts(*[0] * 6), {"usd": 4.0}), "no pair is left"


def test_the_judges_own_cost_per_pair_is_used_if_it_has_one() -> None:
    live = LiveFigures(100)
    live.start_attempt()
    shown = live.add(verdicts(*[0] * 90), {"usd_a_pair": 0.5})
    assert shown == {"positive": "0%", "ignore": "0%", "remaining cost": "about $5.00"}
    shown = live.add(verdicts(0), {"usd_a_pair": 4e-7})
    assert shown["remaining cost"] == "about $0.0000036", "no exponent"
