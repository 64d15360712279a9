"""Markdown: blocks render to a document in which text from data never becomes markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from recipekit.report.blocks import (
    Bullets,
    Code,
    Example,
    Examples,
    Figure,
    Listing,
    ReportSection,
    Strong,
    Table,
    Text,
)
from recipekit.report.markdown import code, escape, render_markdown

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKUP = st.text(st.sampled_from("ab1 .*_`<>#|~$&;:!?-+=()[]{}\\/\"'\n\t"), max_size=40)


def parsed_text(markdown: str) -> str:
    """The text of a document with one paragraph and no markup."""
    opened, inline, closed = PARSER.parse(markdown)
    assert (opened.type, closed.type) == ("paragraph_open", "paragraph_close")
    assert inline.children is not None
    assert {child.type for child in inline.children} <= {"text", "text_special"}
    return "".join(child.content for child in inline.children)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a *b* _c_ `d`", "a \\*b\\* \\_c\\_ \\`d\\`"),
        ("snake_case and __init__", "snake_case and \\_\\_init\\_\\_"),
        ("<script>x</script> | y", "\\<script>x\\</script> \\| y"),
        ("p < 0.001 & AT&T", "p < 0.001 & AT\\&T"),
        ("[link](http://x)", "\\[link\\](http://x)"),
        ("0.5 [0.4, 0.6] and [+0.1, -0.2]", "0.5 [0.4, 0.6] and [+0.1, -0.2]"),
        ("[1, 2](http://x)", "\\[1, 2\\](http://x)"),
        ("# no heading", "\\# no heading"),
        ("> no quotation", "\\> no quotation"),
        ("- no item", "\\- no item"),
        ("12. no item", "12\\. no item"),
        ("0.5", "0.5"),
        ("-0.5", "-0.5"),
        ("--- no rule", "\\--- no rule"),
        ("two\n\nlines\t and   spaces", "two lines and spaces"),
    ],
)
def test_text_is_escaped_only_where_it_would_be_markup(text: str, escaped: str):
    assert escape(text) == escaped


@given(MARKUP)
def test_escaped_text_shows_as_it_is(text: str):
    flat = " ".join(text.split())
    if flat:
        assert parsed_text(escape(text)) == flat


@given(MARKUP)
def test_a_table_cell_shows_its_text_and_forms_no_markup(text: str):
    flat = " ".join(text.split())
    tokens = PARSER.parse(render_markdown([Table(["name", "n"], [[text, "1"]])]))
    cells = [token for token in tokens if token.type == "inline"]
    assert [cell.content for cell in cells[:2]] == ["name", "n"]
    children = cells[2].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == flat
    assert cells[3].content == "1"


def test_code_spans_hold_backticks_and_bars():
    assert code("a_b") == "`a_b`"
    assert code("a`b") == "`` a`b ``"
    assert code("a|b") == "`a\\|b`"


def test_every_kind_of_block_has_its_form():
    table = Table(["system", "n"], [["bm25", (Strong("1"), " [0, 2]")]], title="Sizes")
    blocks = [
        ReportSection(
            "Run *1*",
            [
                Text(("Trained ", Code("student"), ".")),
                ReportSection("Data", [table, Bullets(["a", "b"], ordered=True), Bullets(["- c"])]),
                Figure("Loss", "step", {"loss": [(1, 0.5)]}, Table(["step"], [["1"]], left=0)),
                Listing("echo `a`\n```", "sh"),
                Examples([Example("a query", "p|1", "a passage", [("positive by ", Code("llm"))])]),
            ],
        )
    ]
    assert render_markdown(blocks) == (
        "# Run \\*1\\*\n\nTrained `student`.\n\n## Data\n\n**Sizes**\n\n"
        "| system | n |\n| --- | --: |\n| bm25 | **1** [0, 2] |\n\n1. a\n2. b\n\n- \\- c\n\n"
        "| step |\n| --: |\n| 1 |\n\n````sh\necho `a`\n```\n````\n\n"
        "- **a query**\n  - `p\\|1` a passage\n  - positive by `llm`\n"
    )
