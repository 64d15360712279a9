"""How fast an endpoint may be asked: as the recipe says, as its headers say, and as its 429s and
time-outs teach.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from math import inf

__all__ = ["Bucket", "Pace", "seconds_of"]

BURST = 0.1
"""Seconds' worth that may be sent at once: timers do not wake exactly."""
EVIDENCE = 8
"""Answers, 429s among them, that are seen before the rate is changed: a single one says little."""
TOLERATED = 0.1
"""Of the answers: fewer 429s than that are met by waiting with the calls that got them."""
SLOWEST = 0.1
"""Calls a second that no number of 429s goes below."""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Bucket:
    """A token bucket: fills at a rate to its capacity, and what is sent takes from it.

    What is larger than the capacity goes when the bucket is full, and leaves a debt: the mean never
    passes the rate.
    """

    def __init__(self, rate: float, capacity: float, level: float, now: float) -> None:
        self.rate = rate
        """A second."""
        self.capacity = capacity
        self.level = level
        self._filled = now

    def wait(self, n: float, now: float) -> float:
        """Seconds until `n` may be taken."""
        self.level = min(self.capacity, self.level + self.rate * (now - self._filled))
        self._filled = now
        short = min(n, self.capacity) - self.level
        return 0.0 if short <= 1e-9 else short / self.rate if self.rate > 0 else inf

    def take(self, n: float) -> None:
        """Take `n`; give back where it is negative."""
        self.level = min(self.capacity, self.level - n)


class Pace:
    """Lets calls start in the order in which they came, no faster than every limit allows.

    Args:
        concurrency: The most calls in flight. Time-outs halve the number that is used, and good
            answers raise it again.
        requests_per_minute: Calls that may start in a minute.
        tokens_per_minute: Tokens, in and out, of the calls that start in a minute.
    """

    def __init__(
        self,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.concurrency = concurrency
        self.slots = float(concurrency)
        """Calls in flight that are allowed at present."""
        self.in_flight = 0
        self.resumes = 0.0
        """The time on the loop's clock before which the endpoint asked for nothing to be sent."""
        self._given = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._seen_to = -inf
        self._throttled_at = -inf
        self._throttled_rate = inf
        self._crowded_at = -inf
        self._since: float | None = None
        self._sent = self._served = self._limited = 0
        self._line = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def limits_tokens(self) -> bool:
        """Whether it matters how many tokens a call has."""
        return (
            any(kind == "tokens" for kind, _ in self._buckets) or self._given["tokens"] is not None
        )

    async def admit(self, tokens: float = 0) -> None:
        """Return when a call of so many tokens may start; it counts as in flight until `done`."""
        loop = asyncio.get_running_loop()
        async with self._line:
            self._start(loop.time())
            while (seconds := self._wait(tokens, loop.time())) > 0:
                if seconds == inf:
                    self._freed.clear()
                    await self._freed.wait()
                else:
                    await asyncio.sleep(seconds)
            self.in_flight += 1
            self._sent += 1
            self._take(1, tokens)

    def done(self, unused: float = 0) -> None:
        """A call has ended; so many of its tokens were not used."""
        self.in_flight -= 1
        self._freed.set()
        if unused:
            self._take(0, -unused)

    def served(self) -> None:
        """A call was answered well."""
        self._served += 1
        if self.slots < self.concurrency:
            self.slots = min(self.concurrency, self.slots + 1 / self.slots)
            self._freed.set()

    def limited(self, asked: float | None, now: float) -> None:
        """The endpoint said that this was too fast, and perhaps for how long to wait.

        Without a time, and where a tenth or more of the answers were such, the rate of calls falls
        to the share that was served of the rate at which they were sent, and to a quarter at most.
        That is seen to once a second, since what was sent together fails together.
        """
        if asked is not None:
            self.resumes = max(self.resumes, now + asked)
            return
        self._start(now)
        self._limited += 1
        answers, since = self._served + self._limited, self._since or 0.0
        if now < self._seen_to + 1.0 or answers < EVIDENCE:
            return
        if self._limited >= TOLERATED * answers:
            rate = max(
                SLOWEST,
                min(self._sent / max(now - since, BURST), self._rate(now))
                * max(self._served / answers, 0.25),
            )
            self._throttled_at, self._throttled_rate = now, rate
            self._buckets["requests", "learned"] = Bucket(rate, max(1.0, BURST * rate), 0.0, now)
        self._seen_to = self._since = now
        self._sent = self._served = self._limited = 0

    def crowded(self, started: float, now: float) -> None:
        """A call that started then timed out: half as many at once, counted once for those that
        were in flight together.
        """
        if started > self._crowded_at:
            self._crowded_at = now
            self.slots = max(1.0, self.slots / 2)

    def heard(self, headers: Mapping[str, str], now: float) -> None:
        """Learn from `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`.

        The reset is when all of the limit will be there again, so that it refills at (limit -
        remaining) / reset.
        """
        told = {
            name.lower().removeprefix("llm_provider-"): value
            for name, value in headers.items()
            if "ratelimit" in name.lower()
        }
        for kind in ("requests", "tokens") if told else ():
            limit, remaining = (
                _number(told.get(f"x-ratelimit-{what}-{kind}")) for what in ("limit", "remaining")
            )
            if limit is None or remaining is None or limit <= 0:
                continue
            reset = seconds_of(told.get(f"x-ratelimit-reset-{kind}", ""))
            rate = (limit - remaining) / reset if reset and remaining < limit else limit / 60
            bucket = self._buckets.setdefault((kind, "heard"), Bucket(rate, limit, remaining, now))
            bucket.wait(0, now)
            bucket.rate, bucket.capacity, bucket.level = rate, limit, min(bucket.level, remaining)

    def waits(self, now: float) -> float:
        """Seconds for which nothing will start, as far as is known."""
        seconds = self._wait(0, now)
        return 0.0 if seconds == inf else seconds

    def _start(self, now: float) -> None:
        if self._since is not None:
            return
        self._since = now
        for kind, per_minute in self._given.items():
            if per_minute is not None:
                capacity = max(1.0, BURST * per_minute / 60)
                self._buckets[kind, "given"] = Bucket(
                    per_minute / 60, capacity, capacity if kind == "tokens" else 1.0, now
                )

    def _wait(self, tokens: float, now: float) -> float:
        if self.in_flight >= int(self.slots):
            return inf
        if (learned := self._buckets.get(("requests", "learned"))) is not None:
            learned.rate = self._rate(now)
            learned.capacity = max(1.0, BURST * learned.rate)
        waits = (
            bucket.wait(1 if kind == "requests" else tokens, now)
            for (kind, _), bucket in self._buckets.items()
        )
        return (
            max(self.resumes - now, *waits, 0.0) if self._buckets else max(self.resumes - now, 0.0)
        )

    def _rate(self, now: float) -> float:
        """What a 429 took from the rate comes back, slowly at first: 1.4 times as much after 5
        seconds, 11 times after 30.
        """
        passed = now - self._throttled_at
        return (
            self._throttled_rate * (1 + 0.02 * passed + 0.01 * passed**2)
            if self._throttled_rate < inf
            else inf
        )

    def _take(self, requests: float, tokens: float) -> None:
        for (kind, _), bucket in self._buckets.items():
            bucket.take(requests if kind == "requests" else tokens)


def seconds_of(text: str) -> float | None:
    """Seconds of a duration as these headers write it.

    `6m0s`, `120ms`, `1.5`; None of anything else.
    """
    if (plain := _number(text)) is not None:
        return plain
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        return None
    return sum(
        float(number) * UNITS[unit]
        for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h|d)", text)
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
