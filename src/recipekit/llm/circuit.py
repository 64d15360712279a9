"""Noticing that an endpoint is down: then one call at a time asks whether it is back, and the
others wait.
"""

from __future__ import annotations

import asyncio

__all__ = ["Circuit"]

SUSPICIOUS = 5
"""Failed calls in a row, with no good one between them, after which the endpoint is taken for down.
"""


class Circuit:
    """Closed while the endpoint serves; open while one caller, the prober, tries whether it serves
    again.

    A caller is any object that stays the same over its attempts.
    """

    def __init__(self) -> None:
        self.successes = 0
        """Calls that the endpoint has served in all."""
        self.failures = 0
        """Failed calls since the last one that it served."""
        self._opened = False
        self._prober: object | None = None
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is taken for down."""
        return self._opened

    async def admit(self, caller: object) -> None:
        """Return when the caller may ask: at once while closed; while open, when it is the prober."""
        while not self.admits(caller):
            await self.change()
        if self.is_open:
            self._prober = caller

    def admits(self, caller: object) -> bool:
        """Whether the caller may ask now."""
        return not self.is_open or self._prober in (None, caller)

    def served(self) -> None:
        """The endpoint answered, whatever it said of the request."""
        self.successes += 1
        self.failures = 0
        self._opened = False
        self._prober = None
        self._changed.set()

    def failed(self) -> bool:
        """The endpoint did not serve; whether this opened the circuit."""
        self.failures += 1
        return self.failures >= SUSPICIOUS and self.open()

    def open(self) -> bool:
        """Take the endpoint for down until it serves; whether it was taken for up."""
        opened, self._opened = not self._opened, True
        return opened

    def left(self, caller: object) -> None:
        """The caller asks no more: another one may be the prober."""
        if self._prober is caller:
            self._prober = None
        self._changed.set()

    async def pass_on(self, caller: object) -> None:
        """Let the caller who has waited longest be the prober next, if there is one."""
        self.left(caller)
        await asyncio.sleep(0)  # whoever waits is resumed first

    async def change(self) -> None:
        """Return when a call has been served or a caller has left."""
        self._changed.clear()
        await self._changed.wait()
