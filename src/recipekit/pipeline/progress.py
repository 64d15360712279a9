"""Progress of a stage: bars on a terminal, lines or JSON elsewhere, and always `log.jsonl`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from recipekit.pipeline.run_events import Output, json_line
from recipekit.recipe.environment import redact
from recipekit.report.numbers import duration
from recipekit.report.terminal_stream import columns, shows_escape_codes

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from recipekit.pipeline.trackers import TrainingTracker

__all__ = ["ConsoleProgress"]

PLAIN_SECONDS: Final = 10.0
"""Seconds between the lines of a stream that is not a terminal."""
LIVE_SECONDS: Final = 0.2
"""Seconds between updates of a bar."""
JSON_SECONDS: Final = 1.0
"""Seconds between the `progress` events of one piece of work."""
BAR_WIDTH: Final = 16
MARGINS: Final = 4
"""Spaces before the name of a bar and between name, bar and status."""


class ConsoleProgress:
    """The `Progress` of one process of a stage.

    Args:
        log: The run's `log.jsonl`. Every event is appended to it as a line of JSON.
        stage: The stage that reports.
        is_main: Whether this is the main rank. Other ranks are silent.
        stream: Where lines and bars are shown, standard error by default.
        output: `text`, `quiet` for warnings only, or `json` for events as lines of JSON.
    """

    def __init__(
        self,
        log: Path,
        stage: str,
        *,
        is_main: bool = True,
        stream: TextIO | None = None,
        output: Output = "text",
    ) -> None:
        self.stage = stage
        self.is_main = is_main
        self.stream = stream or sys.stderr
        self.output = output
        shows_bars = is_main and output == "text" and shows_escape_codes(self.stream)
        self.bars = _Bars(self.stream) if shows_bars else None
        self._log = log
        self.tracker: TrainingTracker | None = None

    def track(self, name: str, total: int | None = None, unit: str = "") -> _Work:
        """Start a counted piece of work."""
        return _Work(self, name, total, unit)

    def log(self, event: str, **fields: Any) -> None:
        """Append an event to the log."""
        if not self.is_main:
            return
        if self.tracker is not None:
            self.tracker.log(event, fields)
        record = {"time": round(time.time(), 3), "stage": self.stage, "event": event, **fields}
        line = json.dumps(record, ensure_ascii=False, default=str)
        # A lone surrogate, which UTF-8 cannot hold, becomes a JSON escape.
        with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redact(line) + "\n")

    def info(self, message: str) -> None:
        """Show a message and log it."""
        if self.is_main:
            self.show(f"  {message}")
            self.emit("info", message=message)
            self.log("info", message=message)

    def warn(self, message: str) -> None:
        """Show a warning and log it."""
        if self.is_main:
            if self.output == "quiet":
                self._write(redact(f"{self.stage}: warning: {message}"))
            self.show(f"  warning: {message}")
            self.emit("warning", message=message)
            self.log("warning", message=message)

    def show(self, text: str) -> None:
        """Print a line for people, above the bars if there are any."""
        if self.is_main and self.output == "text":
            if self.bars:
                self.bars.clear()
            self._write(redact(text))

    def emit(self, event: str, **fields: Any) -> None:
        """Print an event for programs."""
        if self.is_main and self.output == "json":
            self._write(json_line(event, {"stage": self.stage, **fields}))

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()

    @property
    def interval(self) -> float:
        """Seconds between the updates of a piece of work."""
        if self.output == "json":
            return JSON_SECONDS
        return LIVE_SECONDS if self.bars else PLAIN_SECONDS


class _Work:
    """One counted piece of work, with its rate and the time left."""

    def __init__(self, progress: ConsoleProgress, name: str, total: int | None, unit: str) -> None:
        self.progress, self.name, self.total, self.unit = progress, name, total, unit
        self.done = 0
        self.figures: dict[str, float | str] = {}
        self.started = self.shown = time.monotonic()
        self._bar: TaskID | None = None

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *exc: object) -> None:
        progress = self.progress
        if progress.bars and self._bar is not None:
            progress.bars.remove(self._bar)
        seconds = time.monotonic() - self.started
        succeeded = exc[0] is None
        if succeeded and self.done and (seconds >= 1 or not progress.bars):
            amount = f"{self.done:,} {self.unit}".rstrip()
            progress.show(f"  {self.name}: {amount} in {duration(seconds)}{self._figures()}")
        counts: dict[str, Any] = {"name": self.name, "done": self.done, "unit": self.unit}
        counts["seconds"] = round(seconds, 3)
        progress.emit("done", **counts)
        progress.log("done", **counts)

    def advance(self, n: int = 1, **figures: float | str) -> None:
        """Count `n` more as done, and show figures until the next call replaces them."""
        self.done += n
        if figures:
            self.figures = dict(figures)
        now = time.monotonic()
        bars = self.progress.bars
        if not self.progress.is_main or now - self.shown < self.progress.interval:
            return
        self.shown = now
        self.progress.emit(
            "progress",
            name=self.name,
            done=self.done,
            total=self.total,
            unit=self.unit,
            seconds=round(now - self.started, 3),
            figures=self.figures,
        )
        status = redact(self._status(now - self.started))
        if bars:
            self._bar = bars.update(self._bar, self.name, status, self.done, self.total)
        else:
            self.progress.show(f"  {self.name}: {status}")

    def _status(self, seconds: float) -> str:
        """`55/639 pairs, 5.5 per second, 1 min 46 s left, loss 0.25`."""
        rate = self.done / seconds if seconds else 0.0
        total = f"/{self.total:,}" if self.total else ""
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        left = ""
        if self.total and rate and self.done < self.total:
            left = f", {duration((self.total - self.done) / rate)} left"
        amount = f"{self.done:,}{total} {self.unit}".rstrip()
        return f"{amount}, {speed} per second{left}{self._figures()}"

    def _figures(self) -> str:
        parts = []
        for name, value in self.figures.items():
            number = f"{value:.4g}" if isinstance(value, float) else value
            parts.append(f", {name} {number}")
        return "".join(parts)


class _Bars:
    """Live bars on a terminal, one for each piece of work under way.

    Only `update` draws bars, without a thread, since stages fork processes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: Bars | None = None

    def update(
        self, bar: TaskID | None, name: str, status: str, done: int, total: int | None
    ) -> TaskID:
        """Show a piece of work, with a new bar if `bar` is None."""
        if self._bars is None:
            self._bars = _new_bars(self._stream)
        if not self._bars.live.is_started:
            self._bars.start()
        room = self._bars.console.width - len(name) - BAR_WIDTH - MARGINS
        if len(status) > room:
            status = f"{status[: max(room - 1, 0)]}…"
        if bar is None:
            bar = self._bars.add_task(name, total=total, completed=done, status=status)
        else:
            self._bars.update(bar, completed=done, status=status)
        self._bars.refresh()
        return bar

    def remove(self, bar: TaskID) -> None:
        """Remove the bar of finished work."""
        if self._bars is not None:
            self._bars.remove_task(bar)
            self.clear()

    def clear(self) -> None:
        """Erase all bars until the next update, so that a line can be printed."""
        if self._bars is not None and self._bars.live.is_started:
            self._bars.stop()


def _new_bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    class BarConsole(Console):
        """A console that never hides the cursor, which a killed process could not show again."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    console = BarConsole(
        file=stream,
        force_terminal=True,
        width=columns(stream, 80),
        highlight=False,
        markup=False,
    )
    one_line = Column(no_wrap=True, overflow="ellipsis")
    return Bars(
        TextColumn("  {task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        TextColumn("{task.fields[status]}", markup=False, table_column=one_line),
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
