"""The figures beside the stage's count while a judge speaks: shares of its verdicts, and the money
to come.
"""

import numpy as np

from recipekit.component import Verdicts
from recipekit.stages.judge.summary import VerdictShares


def said(*verdicts: int) -> Verdicts:
    rows = np.arange(len(verdicts), dtype=np.int32)
    return Verdicts(rows, rows, np.array(verdicts, dtype=np.int8))


def test_what_was_said_before_a_kill_costs_nothing_now() -> None:
    shares = VerdictShares(10)
    assert shares.of(said(1, 1), {}) == {"positive": "100%", "ignore": "0%"}
    shares.start()
    assert shares.of(said(0, 2), {"usd": 1.0}) == {
        "positive": "50%",
        "ignore": "25%",
        "usd": 1.0,
        "usd to come": "about 3.00",
    }
    assert "usd to come" not in shares.of(said(*[0] * 6), {"usd": 4.0}), "nothing is to come"


def test_answers_from_the_store_make_what_is_to_come_no_cheaper() -> None:
    shares = VerdictShares(100)
    shares.start()
    shown = shares.of(said(*[0] * 90), {"usd_a_pair": 0.5})
    assert shown == {"positive": "0%", "ignore": "0%", "usd to come": "about 5.00"}
