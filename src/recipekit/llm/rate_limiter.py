"""How fast an endpoint is called: the recipe's limits, its headers, and its 429s and time-outs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from math import inf

__all__ = ["RateLimiter", "TokenBucket", "parse_duration"]

BURST_SECONDS = 0.1
"""How much of a configured rate may be sent at once, since timers do not wake exactly."""
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class TokenBucket:
    """Fills at a rate up to its capacity; every call takes from it.

    A call larger than the capacity starts when the bucket is full and leaves a debt, so that the
    mean rate is never exceeded.
    """

    def __init__(self, rate: float, capacity: float, level: float, now: float) -> None:
        self.rate = rate
        """Units per second."""
        self.capacity = capacity
        self.level = level
        self._updated = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken."""
        self.level = min(self.capacity, self.level + self.rate * (now - self._updated))
        self._updated = now
        missing = min(amount, self.capacity) - self.level
        if missing <= 1e-9:
            return 0.0
        return missing / self.rate if self.rate > 0 else inf

    def take(self, amount: float) -> None:
        """Take `amount`, or give it back if negative."""
        self.level = min(self.capacity, self.level - amount)


class RateLimiter:
    """Lets calls start in the order in which they ask, within every limit.

    Args:
        concurrency: The largest number of calls in flight. Overload halves the number that is used,
            and successful calls raise it again.
        requests_per_minute: The largest number of calls started per minute.
        tokens_per_minute: The largest number of tokens, in and out, of the calls started per
            minute.
    """

    def __init__(
        self,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.concurrency = concurrency
        self.allowed = float(concurrency)
        """The number of calls in flight that is used at present."""
        self.in_flight = 0
        self._per_minute = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._configured: dict[str, TokenBucket] = {}
        self._from_headers: dict[str, TokenBucket] = {}
        self._resume_at = -inf
        self._overloaded_at = -inf
        self._line = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def counts_tokens(self) -> bool:
        """Whether a limit on tokens is known."""
        return self._per_minute["tokens"] is not None or "tokens" in self._from_headers

    async def acquire(self, tokens: float = 0) -> None:
        """Return when a call of so many tokens may start. It is in flight until `release`."""
        loop = asyncio.get_running_loop()
        async with self._line:
            if not self._configured:
                self._configure(loop.time())
            while (seconds := self._wait(tokens, loop.time())) > 0:
                if seconds == inf:
                    self._freed.clear()
                    await self._freed.wait()
                else:
                    await asyncio.sleep(seconds)
            self.in_flight += 1
            self._take(1, tokens)

    def release(self, unused_tokens: float = 0) -> None:
        """End a call, which did not use so many of its tokens."""
        self.in_flight -= 1
        self._freed.set()
        if unused_tokens:
            self._take(0, -unused_tokens)

    def pause(self, seconds: float, now: float) -> None:
        """Start no call for so many seconds."""
        self._resume_at = max(self._resume_at, now + seconds)

    def slow_down(self, started: float, now: float) -> None:
        """Halve the calls in flight, once for all calls that were in flight together.

        Args:
            started: When the call started that met the overload.
            now: The present time.
        """
        if started > self._overloaded_at:
            self._overloaded_at = now
            self.allowed = max(1.0, self.allowed / 2)

    def speed_up(self) -> None:
        """Note a successful call: one more call in flight for every `allowed` successes."""
        if self.allowed < self.concurrency:
            self.allowed = min(self.concurrency, self.allowed + 1 / self.allowed)
            self._freed.set()

    def read_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Adopt `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.

        The whole limit is available again after the reset, so that the bucket refills at
        (limit - remaining) / reset.
        """
        limits = {
            name.lower().removeprefix("llm_provider-x-ratelimit-").removeprefix("x-ratelimit-"): v
            for name, v in headers.items()
            if "x-ratelimit-" in name.lower()
        }
        for kind in ("requests", "tokens") if limits else ():
            limit = _number(limits.get(f"limit-{kind}"))
            remaining = _number(limits.get(f"remaining-{kind}"))
            if limit is None or remaining is None or limit <= 0:
                continue
            reset = parse_duration(limits.get(f"reset-{kind}", ""))
            rate = (limit - remaining) / reset if reset and remaining < limit else limit / 60
            bucket = self._from_headers.setdefault(kind, TokenBucket(rate, limit, remaining, now))
            bucket.wait(0, now)
            bucket.rate, bucket.capacity = rate, limit
            bucket.level = min(bucket.level, remaining)

    def seconds_until_next(self) -> float:
        """Seconds for which no call starts because of a rate limit; 0 if only slots are short."""
        seconds = self._wait(0, time.monotonic())
        return 0.0 if seconds == inf else seconds

    def _configure(self, now: float) -> None:
        for kind, per_minute in self._per_minute.items():
            if per_minute is not None:
                rate = per_minute / 60
                capacity = max(1.0, BURST_SECONDS * rate)
                level = capacity if kind == "tokens" else 1.0
                self._configured[kind] = TokenBucket(rate, capacity, level, now)

    def _wait(self, tokens: float, now: float) -> float:
        if self.in_flight >= int(self.allowed):
            return inf
        seconds = max(self._resume_at - now, 0.0)
        for buckets in (self._configured, self._from_headers):
            for kind, bucket in buckets.items():
                seconds = max(seconds, bucket.wait(1 if kind == "requests" else tokens, now))
        return seconds

    def _take(self, requests: float, tokens: float) -> None:
        for buckets in (self._configured, self._from_headers):
            for kind, bucket in buckets.items():
                bucket.take(requests if kind == "requests" else tokens)


def parse_duration(text: str) -> float | None:
    """Seconds of a duration such as `6m0s`, `120ms` or `1.5`; None if it is not one."""
    seconds = _number(text)
    if seconds is not None:
        return seconds
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
