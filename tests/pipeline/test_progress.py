"""Progress: bars on a terminal, plain lines elsewhere, events in the log, silent other ranks."""

import io
import json
import re
from pathlib import Path

import pytest

from recipekit.pipeline import progress as module
from recipekit.pipeline.progress import ConsoleProgress


class Terminal(io.StringIO):
    """A stream that looks like a terminal."""

    def isatty(self) -> bool:
        return True


def lines_of(output: str) -> list[str]:
    """The lines that a terminal shows after some output."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\n|\r)", output):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part and part[0] not in "\x1b\r":
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]


def test_finished_work_is_a_plain_line_and_an_event(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "train", stream=stream)
    with progress.track("contrastive", 2, "steps") as work:
        work.advance(1, loss=0.51234)
        work.advance(1, loss=0.25)
    assert stream.getvalue() == "  contrastive: 2 steps in 0.0 s, loss 0.25\n"
    (event,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert {key: event[key] for key in ("stage", "event", "done", "unit")} == {
        "stage": "train",
        "event": "done",
        "done": 2,
        "unit": "steps",
    }


def test_only_the_latest_figures_are_shown(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    with progress.track("llm", 3, "pairs") as work:
        work.advance(1, usd=0.1, waiting="3 s")
        work.advance(1, usd=0.2)
        work.advance(1)
    assert stream.getvalue() == "  llm: 3 pairs in 0.0 s, usd 0.2\n"


def test_long_work_prints_its_rate_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 11.0, 12.0, 20.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    with progress.track("llm", 639, "pairs") as work:
        work.advance(55, positive="85%")
        work.advance(1)
    assert stream.getvalue().splitlines() == [
        "  llm: 55/639 pairs, 5 per second, 1 min 57 s left, positive 85%",
        "  llm: 56 pairs in 20 s, positive 85%",
    ]


def test_a_bar_fits_the_terminal_and_disappears_when_the_work_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "LIVE_SECONDS", 0.0)
    stream = Terminal()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    with progress.track("judge llm", 639, "pairs") as work:
        work.advance(55, positive="85% of all verdicts until now")
        drawn = stream.getvalue()
        progress.info("the endpoint allows 60 requests a minute")
    (bar,) = lines_of(drawn)
    assert bar.startswith("  judge llm ━") and bar.endswith("…")
    assert "55/639 pairs" in bar
    assert len(bar) <= 60
    assert lines_of(stream.getvalue()) == ["  the endpoint allows 60 requests a minute"]
    assert "\x1b[?25l" not in stream.getvalue(), "a killed process would leave no cursor"


def test_no_color_leaves_bars_without_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(module, "LIVE_SECONDS", 0.0)
    stream = Terminal()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    with progress.track("[bold]name[/bold]", 2, "pairs") as work:
        work.advance(1)
    assert not re.search(r"\x1b\[[0-9;]*m", stream.getvalue())
    assert "[bold]name[/bold]" in stream.getvalue()


def test_a_lone_surrogate_reaches_the_log(tmp_path: Path) -> None:
    progress = ConsoleProgress(tmp_path / "log.jsonl", "collect", stream=io.StringIO())
    progress.warn("it contains \ud83d")
    (event,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert event["message"] == "it contains \ud83d"


def test_other_ranks_are_silent(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "train", is_main=False, stream=stream)
    progress.warn("twice")
    with progress.track("work", 1) as work:
        work.advance()
    assert stream.getvalue() == ""
    assert not (tmp_path / "log.jsonl").exists()


def test_a_secret_reaches_neither_the_screen_nor_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipekit.recipe.environment import expand

    monkeypatch.setenv("RECIPEKIT_TEST_TOKEN", "s3cr3t-t0ken")
    assert expand("${env:RECIPEKIT_TEST_TOKEN}") == "s3cr3t-t0ken"
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    progress.warn("401 for key s3cr3t-t0ken")
    for text in (stream.getvalue(), (tmp_path / "log.jsonl").read_text()):
        assert "s3cr3t-t0ken" not in text
        assert "${env:RECIPEKIT_TEST_TOKEN}" in text
