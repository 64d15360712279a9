"""Escaping and numbers: what comes from data must not become markup."""

import pytest

from recipekit.report.counts import render_counts
from recipekit.report.markdown import code, columns, escape, excerpt, table
from recipekit.report.numbers import duration, figure, p_value, signed, size


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a *b* _c_ `d`", "a \\*b\\* \\_c\\_ \\`d\\`"),
        ("<script>x</script> | y", "\\<script\\>x\\</script\\> \\| y"),
        ("[link](http://x)", "\\[link\\](http://x)"),
        ("# no heading", "\\# no heading"),
        ("- no item", "\\- no item"),
        ("12. no item", "12\\. no item"),
        ("0.5", "0.5"),
        ("-0.5", "-0.5"),
        ("--- no rule", "\\--- no rule"),
        ("two\n\nlines\t and   spaces", "two lines and spaces"),
    ],
)
def test_text_stays_text(text: str, escaped: str):
    assert escape(text) == escaped


def test_excerpts_are_cut_between_words():
    assert excerpt("one two three", 300) == "one two three"
    assert excerpt("one two three four", 11) == "one two …"
    assert excerpt("x" * 50, 10) == "x" * 10 + " …"


def test_code_spans_hold_backticks_and_bars():
    assert code("a_b") == "`a_b`"
    assert code("a`b") == "`` a`b ``"
    assert code("a|b") == "`a\\|b`"


def test_tables():
    assert table(["", "n"], [["a", "1"]]) == "|  | n |\n| --- | --: |\n| a | 1 |"
    assert columns([["", "value"], ["bm25", "1"]]) == "        value\n  bm25      1"


def test_numbers_as_people_read_them():
    assert [figure(value) for value in (1234567, 0.123456, 12345.6, True, None, "x")] == [
        "1,234,567",
        "0.1235",
        "12,346",
        "yes",
        "-",
        "x",
    ]
    assert [duration(seconds) for seconds in (0.42, 42, 185, 7805, None)] == [
        "0.4 s",
        "42 s",
        "3 min 5 s",
        "2 h 10 min",
        "-",
    ]
    assert [size(n) for n in (12, 812_000_000, 2_140_000_000, None)] == [
        "12 B",
        "812 MB",
        "2.1 GB",
        "-",
    ]
    assert [signed(value) for value in (0.0611, -0.05, -0.0002)] == ["+0.061", "-0.050", "+0.000"]
    assert [p_value(p) for p in (0.0004, 0.0312, 1.0)] == ["p < 0.001", "p = 0.031", "p = 1.000"]


def test_any_summary_becomes_tables():
    summary = {
        "pairs_in": 12000,
        "dropped": {"too_short": 3, "duplicates": 4},
        "recall": {"bm25": {"10": 0.5, "100": 0.75}, "fused": {"10": 0.6}},
        "sources": [{"name": "a|b", "pairs": 1}, {"name": "c", "pairs": 2}],
        "notes": ["hidden"],
    }
    assert render_counts(summary, hide=["notes"]) == "\n\n".join(
        [
            "|  |  |\n| --- | --: |\n| pairs in | 12,000 |\n| dropped: too short | 3 |\n| dropped: duplicates | 4 |",
            "**Recall**",
            "|  | 10 | 100 |\n| --- | --: | --: |\n| bm25 | 0.5 | 0.75 |\n| fused | 0.6 |  |",
            "**Sources**",
            "| name | pairs |\n| --- | --: |\n| a\\|b | 1 |\n| c | 2 |",
        ]
    )
    assert render_counts({}) == ""
