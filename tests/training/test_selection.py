"""Which weights are kept: the latest near the best, the best, or the last."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from recipekit.training.selection import DevHistory, SelectionRule


def history(*evaluations, keep="near_best") -> DevHistory:
    """The history of evaluations by query, one step apart."""
    made = DevHistory()
    for step, values in enumerate(evaluations):
        made.add(step, np.array(values, dtype=float), SelectionRule(keep=keep))
    return made


NOISY_BEST = [0.9, 0.5, 0.7, 0.8]
"""Its mean is 0.725."""


def test_the_latest_within_one_standard_error_of_the_best_is_kept():
    # Differences to the best 0.2, -0.1, 0.1, -0.15: mean 0.0125, standard error 0.083.
    made = history([0.1] * 4, NOISY_BEST, [0.7, 0.6, 0.6, 0.95])
    assert (made.best_step, made.kept_step) == (1, 2)


def test_a_value_that_is_clearly_below_the_best_is_not_kept():
    # The same difference for every query has no standard error.
    made = history([0.1] * 4, NOISY_BEST, [value - 0.001 for value in NOISY_BEST])
    assert (made.best_step, made.kept_step) == (1, 1)


def test_weights_below_the_untrained_ones_are_never_kept():
    made = history([0.5, 0.5, 0.5, 0.5], [0.9, 0.1, 0.9, 0.05])
    assert made.kept_step == 0
    assert history([0.5, 0.5], [0.5, 0.5]).kept_step == 0


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 3), ("near_best", 2)])
def test_each_rule_keeps_what_it_says(keep, kept):
    low = [0.2] * 4
    assert history([0.1] * 4, NOISY_BEST, [0.7, 0.6, 0.6, 0.95], low, keep=keep).kept_step == kept


def test_a_history_survives_json():
    made = history([0.1] * 4, NOISY_BEST)
    assert DevHistory.of(json.loads(json.dumps(asdict(made)))) == made


def test_values_that_do_not_compete_are_shown_and_decide_nothing():
    rule = SelectionRule(patience=1)
    made = history([0.3])
    assert not made.add(1, np.array([0.9]), rule, competes=False)
    assert [point["value"] for point in made.points] == [0.3, 0.9]
    assert (made.best_step, made.kept_step) == (0, 0)
    assert not made.stops(rule)


def test_patience_of_a_phase_counts_from_the_weights_that_it_starts_with():
    rule = SelectionRule(patience=1)
    made = history([0.8], [0.2])  # such as pre-training
    made.start_phase()
    for step, value in ((2, 0.3), (3, 0.5)):
        made.add(step, np.array([value]), rule)
        assert not made.stops(rule), "it improves, below the best of all"
    made.add(4, np.array([0.4]), rule)
    assert made.stops(rule)
    assert made.best_step == 0


def test_patience_counts_evaluations_since_the_last_best():
    rule = SelectionRule(patience=2)
    made = history([0.1], [0.3], [0.2])
    assert not made.stops(rule)
    made.add(3, np.array([0.3]), rule)
    assert made.stops(rule)
    made.add(4, np.array([0.4]), rule)
    assert not made.stops(rule)
    assert not made.stops(SelectionRule())
