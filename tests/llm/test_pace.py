"""How fast calls start, on a clock that jumps instead of waiting."""

from __future__ import annotations

import asyncio
import selectors

import pytest

from recipekit.llm.pace import Bucket, Pace, seconds_of


class JumpingLoop(asyncio.SelectorEventLoop):
    """Where nothing is ready, the time of the next timer comes at once."""

    def __init__(self):
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self):
        return self.now


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop):
        super().__init__()
        self.loop = loop

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.loop.now += timeout
        return ready


def run(coroutine):
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(coroutine)


async def starts(pace, calls, tokens=0, seconds=0.0):
    """When each call starts, if each lasts so long."""
    loop, began = asyncio.get_running_loop(), []

    async def call():
        await pace.admit(tokens)
        began.append(loop.time())
        await asyncio.sleep(seconds)
        pace.done()

    await asyncio.gather(*(call() for _ in range(calls)))
    return began


def test_without_limits_only_the_concurrency_holds_calls_back():
    assert run(starts(Pace(2), 6, seconds=1.0)) == [0, 0, 1, 1, 2, 2]


def test_sixty_a_minute_is_one_a_second():
    assert run(starts(Pace(100, requests_per_minute=60), 5)) == pytest.approx([0, 1, 2, 3, 4])


def test_tokens_a_minute_hold_even_where_a_call_has_more_than_a_moment_allows():
    began = run(starts(Pace(100, tokens_per_minute=6000), 5, tokens=500))
    assert began == pytest.approx([0, 5, 10, 15, 20], abs=0.2)  # 100 tokens a second


def test_unused_tokens_are_given_back():
    async def told():
        pace = Pace(100, tokens_per_minute=6000)
        await pace.admit(1000)
        pace.done(unused=900)
        await pace.admit(10)
        return asyncio.get_running_loop().time()

    assert run(told()) == pytest.approx(1.0, abs=0.2)


def test_retry_after_holds_everything_back():
    async def told():
        pace = Pace(4)
        pace.limited(7.0, asyncio.get_running_loop().time())
        return await starts(pace, 3)

    assert run(told()) == [7, 7, 7]


def test_headers_that_say_nothing_is_left_are_believed():
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }

    async def told():
        pace = Pace(4)
        pace.heard(headers, 0.0)
        return await starts(pace, 3)

    assert run(told()) == pytest.approx([1, 2, 3])


def test_headers_of_tokens_are_believed_as_litellm_passes_them_on():
    named = {"limit": "1000", "remaining": "100", "reset": "9s"}

    async def told():
        pace = Pace(4)
        pace.heard(
            {f"llm_provider-x-ratelimit-{name}-tokens": value for name, value in named.items()}, 0.0
        )
        assert pace.limits_tokens
        return await starts(pace, 3, tokens=100)

    assert run(told()) == pytest.approx([0, 1, 2])


@pytest.mark.parametrize("limit", [2.0, 20.0])
def test_a_hard_limit_that_nobody_tells_is_found_and_kept_to(limit):
    """A server that serves `limit` calls a second and answers the rest 429, without a word of when
    to come back.
    """

    async def told():
        loop, pace, server = asyncio.get_running_loop(), Pace(50), Bucket(limit, limit, limit, 0.0)
        served, refused = [], []

        async def client():
            while loop.time() < 300:
                await pace.admit()
                good = server.wait(1, loop.time()) == 0
                (served if good else refused).append(loop.time())
                if good:
                    server.take(1)
                await asyncio.sleep(0.05)
                if good:
                    pace.served()
                else:
                    pace.limited(None, loop.time())
                pace.done()

        await asyncio.gather(*(client() for _ in range(50)))
        return served, refused

    served, refused = run(told())
    late = [moment for moment in served if moment >= 60]
    assert len(late) / 240 >= 0.8 * limit
    assert sum(moment >= 60 for moment in refused) <= 0.25 * len(late)


def test_a_429_now_and_then_costs_little():
    async def told():
        loop, pace = asyncio.get_running_loop(), Pace(10)
        for number in range(6000):
            await pace.admit()
            await asyncio.sleep(0.01)
            if number % 50:
                pace.served()
            else:
                pace.limited(None, loop.time())
            pace.done()
        return loop.time()

    assert run(told()) < 1.25 * 60


def test_time_outs_halve_the_calls_in_flight_once_for_all_that_flew_together():
    pace = Pace(16)
    for _ in range(5):
        pace.crowded(started=0.0, now=10.0)
    assert pace.slots == 8
    pace.crowded(started=11.0, now=20.0)
    assert pace.slots == 4
    for _ in range(200):
        pace.served()
    assert pace.slots == 16


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("15", 15),
        ("soon", None),
        ("", None),
    ],
)
def test_durations_of_headers(text, seconds):
    assert seconds_of(text) == seconds
