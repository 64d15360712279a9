"""Ends a process as far as a test can: with a KeyboardInterrupt out of its progress."""

from __future__ import annotations

from recipekit.testing import RecordingProgress

__all__ = ["KilledAfter"]


class KilledAfter(RecordingProgress):
    """Raises KeyboardInterrupt after a number of advances of one kind of work."""

    def __init__(self, work: str, advances: int) -> None:
        super().__init__()
        self.work, self.left = work, advances

    def track(self, name: str, total: int | None = None, unit: str = "") -> _Countdown:
        return _Countdown(self, counts=name == self.work)


class _Countdown:
    def __init__(self, progress: KilledAfter, *, counts: bool) -> None:
        self.progress, self.counts = progress, counts

    def __enter__(self) -> _Countdown:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def advance(self, n: int = 1, **figures: float | str) -> None:
        if self.counts and n:
            self.progress.left -= n
            if self.progress.left <= 0:
                raise KeyboardInterrupt
