"""Waits before a request is repeated."""

from random import Random

import pytest

from recipekit.retries import backoff, retry_after


def test_the_longest_wait_doubles_with_every_attempt_up_to_half_a_minute():
    random = Random(0)
    for attempt, longest in [(1, 0.5), (2, 1.0), (6, 16.0), (7, 30.0), (5000, 30.0)]:
        waits = [backoff(attempt, random) for _ in range(500)]
        assert 0 <= min(waits) < 0.1 * longest
        assert 0.9 * longest < max(waits) <= longest


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    assert retry_after(headers) == seconds
