"""Progress: plain lines where there is no terminal, events in the log, silence on other ranks."""

import io
import json
from pathlib import Path

import pytest

from recipekit.pipeline.progress import ConsoleProgress


def test_work_ends_in_a_plain_line_and_an_event(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "train", stream=stream)
    with progress.track("contrastive", 2, "steps") as line:
        line.advance(1, loss=0.51234)
        line.advance(1, loss=0.25)
    assert stream.getvalue() == "  contrastive: 2 steps in 0.0 s, loss 0.25\n"
    (event,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (event["stage"], event["event"], event["done"], event["unit"]) == (
        "train",
        "done",
        2,
        "steps",
    )


def test_a_figure_that_is_not_told_any_more_is_not_shown(tmp_path: Path) -> None:
    stream = io.StringIO()
    with ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream).track(
        "llm", 3, "pairs"
    ) as line:
        line.advance(1, usd=0.1, waiting="3 s")
        line.advance(1, usd=0.2)
        line.advance(1)
    assert stream.getvalue() == "  llm: 3 pairs in 0.0 s, usd 0.2\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_live_line_fits_the_terminal_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    progress.show("judge llm: 55/639 pairs, 5.5 a second, 1 min 46 s left, positive 85%")
    progress.say("done")
    live, blank, after = stream.getvalue().split("\r")
    assert live == "judge llm: 55/639 pairs, 5.5 a second,…"
    assert (blank, after) == (" " * len(live), "done\n")


def test_half_a_surrogate_pair_reaches_the_log(tmp_path: Path) -> None:
    ConsoleProgress(tmp_path / "log.jsonl", "collect", stream=io.StringIO()).warn("it says \ud83d")
    (event,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert event["message"] == "it says \ud83d"


def test_other_ranks_are_silent(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "train", is_main=False, stream=stream)
    progress.warn("twice")
    with progress.track("work", 1) as line:
        line.advance()
    assert stream.getvalue() == ""
    assert not (tmp_path / "log.jsonl").exists()


def test_a_secret_does_not_reach_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipekit.recipe.environment import expand

    monkeypatch.setenv("RECIPEKIT_TEST_TOKEN", "s3cr3t-t0ken")
    assert expand("${env:RECIPEKIT_TEST_TOKEN}") == "s3cr3t-t0ken"
    stream = io.StringIO()
    progress = ConsoleProgress(tmp_path / "log.jsonl", "judge", stream=stream)
    progress.warn("401 for key s3cr3t-t0ken")
    for text in (stream.getvalue(), (tmp_path / "log.jsonl").read_text()):
        assert "s3cr3t-t0ken" not in text
        assert "${env:RECIPEKIT_TEST_TOKEN}" in text
