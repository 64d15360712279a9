"""Terminal output: tables fit a terminal, and a pipe gets plain text at full width."""

import io

import pytest

from helpers.plain_text import plain_text
from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Example,
    Examples,
    FilePath,
    ReportSection,
    Table,
    Text,
)
from recipekit.report.terminal import print_blocks, shortened_path
from recipekit.report.terminal_stream import shows_escape_codes

WIDE = Table(
    ["difference", "interval", "significant"],
    [["trained - untrained", "[+0.042, +0.089]", "yes, better"]],
)


class Terminal(io.StringIO):
    """A stream that looks like a terminal."""

    def isatty(self) -> bool:
        return True


def printed(block: Block, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    print_blocks([block], stream)
    return stream.getvalue()


def test_a_pipe_gets_aligned_columns_without_escape_codes_at_full_width(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "word " * 100
    assert plain_text([Text(long), WIDE]) == (
        f"{long.rstrip()}\n\n"
        "difference                   interval  significant\n"
        "trained - untrained  [+0.042, +0.089]  yes, better\n"
    )


def test_a_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(WIDE, 40, monkeypatch).splitlines() == [
        "difference         interval  significant",
        "trained -          [+0.042,  yes, better",
        "untrained           +0.089]",
    ]


def test_a_table_that_cannot_fit_lists_its_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(WIDE, 30, monkeypatch).splitlines() == [
        "trained - untrained",
        "  interval: [+0.042, +0.089]",
        "  significant: yes, better",
    ]


def test_colour_appears_on_a_terminal_only_and_not_with_no_color(monkeypatch: pytest.MonkeyPatch):
    block = ReportSection("Results", [Text(("by ", Code("margin")))])
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in printed(block, 80, monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(block, 80, monkeypatch) == "Results\nby margin\n"
    assert plain_text([block]) == "Results\nby margin\n"


def test_text_from_data_sends_no_control_characters_and_forms_no_markup():
    query = "clear \x1b[2J the \x07screen [bold]not[/bold] :smile:"
    blocks = [Examples([Example(query, "p1", "a\rb", ["fact"])]), Bullets(["\x1b]0;title\x07"])]
    text = plain_text(blocks)
    assert "\x1b" not in text and "\x07" not in text and "\r" not in text
    assert "[bold]not[/bold] :smile:" in text


def test_a_short_word_such_as_a_key_is_never_broken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    keys = ["407e67e28861", "5b2b24ef2e17", "78d1906be715"]
    rows = [
        ["embeddings", key, "2026-11-28 18:40", "needed", "initcli", "312.5 MB"] for key in keys
    ]
    header = ["artifact", "key", "created", "state", "recipe", "size"]
    lines = printed(Table(header, rows, left=5), 60, monkeypatch).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("embeddings")] == keys


def test_columns_apply_in_a_pipe(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert plain_text([WIDE]).splitlines()[1] == "trained -          [+0.042,  yes, better"
    monkeypatch.setenv("COLUMNS", "not a number")
    assert len(plain_text([Text("word " * 100)]).splitlines()) == 1


@pytest.mark.parametrize("setting", [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_a_plain_terminal_gets_no_escape_codes(
    setting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(*setting)
    stream = Terminal()
    assert not shows_escape_codes(stream)
    print_blocks([ReportSection("Results", [Text(("by ", Code("margin"))), WIDE])], stream)
    assert "\x1b" not in stream.getvalue()


def test_long_paths_are_shortened_in_the_middle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    path = "/home/someone/projects/search/.venv/lib/recipekit/retrievers/bm25.py:52"
    table = Table(
        ["name", "location", "summary"],
        [["bm25", FilePath(path), "words that wrap " * 5]],
        left=3,
        title=("cache ", FilePath(path)),
    )
    lines = printed(table, 60, monkeypatch).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert lines[0].startswith("cache /home/someone") and lines[0].endswith("bm25.py:52")
    assert lines[2].split()[1].startswith("/home") and lines[2].split()[1].endswith("bm25.py:52")
    assert " ".join(" ".join(lines[2:]).split()).count("words") == 5
    monkeypatch.delenv("COLUMNS")
    assert plain_text([table]).count(path) == 2  # a pipe gets all of it


def test_a_shortened_path_keeps_its_end():
    assert shortened_path("/a/b.yaml", 20) == "/a/b.yaml"
    assert shortened_path("/home/someone/cache", 10) == "/ho…/cache"
    assert len(shortened_path("x" * 500, 33)) == 33
