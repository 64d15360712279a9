"""Parallel requests."""

import threading

import pytest

from recipekit.engines.parallel import map_in_order


def test_results_come_in_order_and_few_items_are_started_ahead():
    started = []

    def square(number: int) -> int:
        started.append(number)
        return number * number

    results = map_in_order(square, range(100), threads=3, name="test")
    assert next(results) == 0
    assert len(started) <= 6
    assert list(results) == [number * number for number in range(1, 100)]


def test_the_first_failure_cancels_the_rest():
    started = []

    def fail_at_four(number: int) -> int:
        started.append(number)
        if number == 4:
            raise ValueError("the fourth")
        return number

    with pytest.raises(ValueError, match="the fourth"):
        list(map_in_order(fail_at_four, range(1000), threads=2, name="test"))
    assert max(started) < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test_")]


def test_closing_the_iterator_cancels_the_rest():
    started = []
    results = map_in_order(started.append, range(1000), threads=2, name="test")
    next(results)
    results.close()
    assert len(started) <= 4
