"""Bootstrap intervals and tests, compared with theory for samples of known distributions."""

import numpy as np
import pytest

from recipekit.evaluators.statistics import (
    bootstrap_means,
    difference_p_value,
    holm,
    percentile_interval,
)


def test_the_interval_of_a_mean_is_close_to_the_normal_interval():
    values = np.random.default_rng(1).normal(0.5, 0.2, size=(400, 1))
    mean, error = values.mean(), values.std() / np.sqrt(400)
    estimate = percentile_interval(mean, bootstrap_means(values, 10_000, seed=3)[:, 0], 0.95)
    assert estimate.value == mean
    assert estimate.low == pytest.approx(mean - 1.96 * error, abs=0.05 * error + 1e-3)
    assert estimate.high == pytest.approx(mean + 1.96 * error, abs=0.05 * error + 1e-3)


def test_bootstrap_means_are_paired_across_columns():
    values = np.random.default_rng(2).random((50, 2))
    values[:, 1] = values[:, 0] + 0.25
    means = bootstrap_means(values, 1000, seed=5)
    np.testing.assert_allclose(
        means[:, 1] - means[:, 0], 0.25
    )  # a constant paired difference has no spread
    np.testing.assert_array_equal(means, bootstrap_means(values, 1000, seed=5))
    assert not np.array_equal(means, bootstrap_means(values, 1000, seed=6))
    assert means[:, 0].std() == pytest.approx(values[:, 0].std() / np.sqrt(50), rel=0.1)


def test_p_values_are_uniform_without_a_difference():
    generator = np.random.default_rng(4)
    p_values = []
    for trial in range(200):
        values = generator.normal(size=(60, 1))
        p_values.append(
            difference_p_value(values.mean(), bootstrap_means(values, 400, seed=trial)[:, 0])
        )
    for level in (0.1, 0.5):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.1)


def test_p_values_are_small_with_a_difference_and_one_for_equal_systems():
    shifted = np.random.default_rng(5).normal(1.0, 1.0, size=(60, 1))
    assert difference_p_value(
        shifted.mean(), bootstrap_means(shifted, 999, seed=0)[:, 0]
    ) == pytest.approx(1 / 1000)
    zeros = np.zeros((60, 1))
    assert difference_p_value(0.0, bootstrap_means(zeros, 999, seed=0)[:, 0]) == 1.0


def test_holm_equals_values_computed_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
