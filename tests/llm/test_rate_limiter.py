"""When calls start, on a clock that jumps instead of waiting."""

from __future__ import annotations

import asyncio
import selectors

import pytest

from recipekit.llm.rate_limiter import RateLimiter, parse_duration


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer if nothing is ready."""

    def __init__(self):
        self.now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self):
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
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


async def start_times(limiter, calls, tokens=0, seconds=0.0):
    """When each call starts, if each lasts `seconds`."""
    loop, started = asyncio.get_running_loop(), []

    async def call():
        await limiter.acquire(tokens)
        started.append(loop.time())
        await asyncio.sleep(seconds)
        limiter.release()

    await asyncio.gather(*(call() for _ in range(calls)))
    return started


def test_without_limits_only_the_concurrency_delays_calls():
    assert run(start_times(RateLimiter(2), 6, seconds=1.0)) == [0, 0, 1, 1, 2, 2]


def test_sixty_requests_per_minute_are_one_per_second():
    started = run(start_times(RateLimiter(100, requests_per_minute=60), 5))
    assert started == pytest.approx([0, 1, 2, 3, 4])


def test_tokens_per_minute_hold_for_calls_larger_than_a_burst():
    started = run(start_times(RateLimiter(100, tokens_per_minute=6000), 5, tokens=500))
    assert started == pytest.approx([0, 5, 10, 15, 20], abs=0.2)  # 100 tokens per second


def test_unused_tokens_are_given_back():
    async def second_start():
        limiter = RateLimiter(100, tokens_per_minute=6000)
        await limiter.acquire(1000)
        limiter.release(unused_tokens=900)
        await limiter.acquire(10)
        return asyncio.get_running_loop().time()

    assert run(second_start()) == pytest.approx(1.0, abs=0.2)


def test_a_pause_delays_every_call():
    async def times():
        limiter = RateLimiter(4)
        limiter.pause(7.0, asyncio.get_running_loop().time())
        return await start_times(limiter, 3)

    assert run(times()) == [7, 7, 7]


@pytest.mark.parametrize("prefix", ["", "llm_provider-"])
@pytest.mark.parametrize(
    ("kind", "values", "times"),
    [
        ("requests", {"limit": "60", "remaining": "0", "reset": "60s"}, [1, 2, 3]),
        ("tokens", {"limit": "1000", "remaining": "100", "reset": "9s"}, [0, 1, 2]),
    ],
)
def test_limits_in_headers_are_respected(prefix, kind, values, times):
    headers = {f"{prefix}x-ratelimit-{name}-{kind}": value for name, value in values.items()}

    async def measured():
        limiter = RateLimiter(4)
        limiter.read_headers(headers, 0.0)
        assert limiter.counts_tokens == (kind == "tokens")
        return await start_times(limiter, 3, tokens=100)

    assert run(measured()) == pytest.approx(times)


def test_overload_halves_the_calls_in_flight_once_for_calls_that_ran_together():
    limiter = RateLimiter(16)
    for _ in range(5):
        limiter.slow_down(started=0.0, now=10.0)
    assert limiter.allowed == 8
    limiter.slow_down(started=11.0, now=20.0)
    assert limiter.allowed == 4
    for _ in range(200):
        limiter.speed_up()
    assert limiter.allowed == 16


def test_an_overloaded_endpoint_gets_at_least_one_call():
    limiter = RateLimiter(2)
    for moment in range(0, 100, 2):
        limiter.slow_down(started=moment, now=moment + 1)
    assert limiter.allowed == 1


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
def test_durations_in_headers_are_parsed(text, seconds):
    assert parse_duration(text) == seconds
