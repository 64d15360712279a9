"""Requests on several threads."""

import threading

import pytest

from recipekit.engines.parallel import in_order


def test_results_come_in_order_and_few_are_begun_ahead():
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        return number * number

    results = in_order(work, range(100), threads=3, name="test")
    assert next(results) == 0
    assert len(begun) <= 6
    assert list(results) == [number * number for number in range(1, 100)]


def test_the_first_failure_ends_all():
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 4:
            raise ValueError("the fourth")
        return number

    with pytest.raises(ValueError, match="the fourth"):
        list(in_order(work, range(1000), threads=2, name="test"))
    assert max(begun) < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test_")]


def test_who_stops_taking_stops_the_work():
    begun = []
    results = in_order(begun.append, range(1000), threads=2, name="test")
    next(results)
    results.close()
    assert len(begun) <= 4
