"""Progress: a live line on a terminal, plain lines elsewhere, and `log.jsonl` beside it always."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import IO, Any

from recipekit.recipe.environment import redact
from recipekit.report.numbers import duration

__all__ = ["ConsoleProgress"]

PLAIN_SECONDS = 10.0
LIVE_SECONDS = 0.2


class ConsoleProgress:
    """A `Progress` for one process of a run.

    Args:
        log: The run's `log.jsonl`; every event is appended to it, one JSON object a line.
        stage: The stage that reports.
        is_main: Other ranks stay silent, but for what goes wrong.
        stream: Where people look.
    """

    def __init__(
        self, log: Path, stage: str, *, is_main: bool = True, stream: IO[str] | None = None
    ) -> None:
        self.stage = stage
        self.is_main = is_main
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._log = log
        self._width = 0

    def track(self, name: str, total: int | None = None, unit: str = "") -> _Line:
        """Start a counted piece of work."""
        return _Line(self, name, total, unit)

    def log(self, event: str, **fields: Any) -> None:
        """Append an event to the log."""
        if not self.is_main:
            return
        line = json.dumps(
            {"time": round(time.time(), 3), "stage": self.stage, "event": event, **fields},
            ensure_ascii=False,
            default=str,
        )
        with self._log.open(
            "a", encoding="utf-8", errors="backslashreplace"
        ) as file:  # half a surrogate pair becomes a JSON escape
            file.write(redact(line) + "\n")

    def info(self, message: str) -> None:
        """A line for the user, and for the log."""
        if self.is_main:
            self.say(f"  {message}")
            self.log("told", message=message)

    def warn(self, message: str) -> None:
        """Tell the user, and the log."""
        if self.is_main:
            self.say(f"  warning: {message}")
            self.log("warning", message=message)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.is_main:
            self._clear()
            self.stream.write(redact(text) + "\n")
            self.stream.flush()

    def show(self, text: str) -> None:
        """The live line, in place of the one before; cut to the terminal, since of a wrapped line
        only the last row could be cleared.
        """
        self._clear()
        room = shutil.get_terminal_size().columns - 1
        text = text if len(text) <= room else f"{text[: room - 1]}…"
        self.stream.write(text)
        self.stream.flush()
        self._width = len(text)

    def _clear(self) -> None:
        if self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self._width = 0


class _Line:
    """One counted piece of work: how far, how fast, how long to go."""

    def __init__(self, progress: ConsoleProgress, name: str, total: int | None, unit: str) -> None:
        self.progress, self.name, self.total, self.unit = progress, name, total, unit
        self.done = 0
        self.figures: dict[str, float | str] = {}
        self.started = self.shown = time.monotonic()

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *exc: object) -> None:
        seconds = time.monotonic() - self.started
        if exc[0] is None and self.done and (seconds >= 1 or not self.progress.live):
            self.progress.say(
                f"  {self.name}: {self.done:,} {self.unit} in {duration(seconds)}{self._figures()}".replace(
                    "  in", " in"
                )
            )
        elif self.progress.is_main:
            self.progress._clear()
        self.progress.log(
            "done", name=self.name, done=self.done, unit=self.unit, seconds=round(seconds, 3)
        )

    def advance(self, n: int = 1, **figures: float | str) -> None:
        """Count `n` more done, with figures to show."""
        self.done += n
        if figures:  # one that is not told any more is no longer so
            self.figures = dict(figures)
        now = time.monotonic()
        if not self.progress.is_main or now - self.shown < (
            LIVE_SECONDS if self.progress.live else PLAIN_SECONDS
        ):
            return
        self.shown = now
        (self.progress.show if self.progress.live else self.progress.say)(
            self._text(now - self.started)
        )

    def _text(self, seconds: float) -> str:
        rate = self.done / seconds if seconds else 0.0
        of = f"/{self.total:,}" if self.total else ""
        left = (
            f", {duration((self.total - self.done) / rate)} left"
            if self.total and rate and self.done < self.total
            else ""
        )
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        return f"  {self.name}: {self.done:,}{of} {self.unit}, {speed} a second{left}{self._figures()}".replace(
            " ,", ","
        )

    def _figures(self) -> str:
        return "".join(
            f", {name} {value:.4g}" if isinstance(value, float) else f", {name} {value}"
            for name, value in self.figures.items()
        )
