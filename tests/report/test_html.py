"""Blocks as one HTML file."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Example,
    Examples,
    Figure,
    FilePath,
    Headline,
    Listing,
    ReportSection,
    Strong,
    Table,
    Text,
)
from recipekit.report.html import render_html
from recipekit.report.svg import figure_file, render_svg

pytestmark = pytest.mark.usefixtures("drawn_figures")
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)> \" ' onload='x' --> ]]> &amp;"
)
DRAWN = Figure(
    HOSTILE, HOSTILE, {HOSTILE: [(0, 1.0)], "b": [(0, 2.0)]}, Table([HOSTILE], [[HOSTILE]])
)
EVERYWHERE: list[Block] = [
    Text((HOSTILE, Code(HOSTILE), Strong(HOSTILE), FilePath(HOSTILE))),
    Bullets([HOSTILE]),
    Listing(HOSTILE, HOSTILE),
    Table([HOSTILE], [[HOSTILE]], title=HOSTILE),
    Headline(HOSTILE, [(HOSTILE, HOSTILE, HOSTILE)]),
    DRAWN,
    Examples([Example(HOSTILE, HOSTILE, HOSTILE, [HOSTILE])] * 2),
    ReportSection(HOSTILE, [Text(HOSTILE)]),
    ReportSection(HOSTILE, [Text(HOSTILE)]),
]
VOID = {"meta", "link", "input", "path", "use", "rect"}


class Page(HTMLParser):
    """The elements and the text of a page, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.shown: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def page(blocks: list[Block], drawings: dict[str, str] | None = None) -> Page:
    return Page(
        render_html([ReportSection(HOSTILE, blocks)], title=HOSTILE, drawings=drawings or {})
    )


@pytest.fixture(scope="module")
def hostile(drawn_figures: None) -> Page:
    return page(EVERYWHERE, {figure_file(DRAWN): render_svg(DRAWN)})


def test_text_of_a_data_set_is_shown_and_never_becomes_markup(hostile: Page) -> None:
    tags = [tag for tag, _ in hostile.elements]
    assert tags.count("script") == 1
    assert "img" not in tags
    attributes = {name for _, found in hostile.elements for name in found}
    assert not [name for name in attributes if name.startswith("on")]
    assert not hostile.open, "every element is closed"
    assert "".join(hostile.shown).count(HOSTILE) >= 24
    assert [tag for tag, _ in page([Text("plain")]).elements].count("p") == 1


def test_a_page_loads_nothing_and_allows_only_its_own_script(hostile: Page) -> None:
    policy = next(found["content"] for tag, found in hostile.elements if "http-equiv" in found)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert re.search(r"script-src 'sha256-[\w+/]+='", policy)
    for _, found in hostile.elements:
        for name in ("src", "href", "action"):
            assert (found.get(name) or "#").startswith(("#", "data:,")), found


def test_sections_have_ids_of_their_own_that_the_contents_link_to(hostile: Page) -> None:
    ids = [found["id"] for tag, found in hostile.elements if tag == "section"]
    assert len(set(ids)) == len(ids) == 2
    linked = [found["href"] for tag, found in hostile.elements if tag == "a"]
    assert linked == [f"#{name}" for name in ids]


def test_a_figure_shows_its_drawing_and_folds_its_numbers() -> None:
    figure = Figure("Curve", "step", {"loss": [(0, 1.0)]}, Table(["step"], [["7"]], title="Curve"))
    drawn = page([figure], {"curve.svg": render_svg(figure)})
    tags = [tag for tag, _ in drawn.elements]
    assert (
        tags.index("figcaption") < tags.index("svg") < tags.index("details") < tags.index("table")
    )
    assert "p" not in tags, "the title is shown once"
    without = [tag for tag, _ in page([figure]).elements]
    assert "table" in without
    assert "details" not in without


def test_all_examples_are_there_with_a_search_box_and_markdown_shows_the_first() -> None:
    items = [Example(f"query {number}", "p", "text", []) for number in range(12)]
    found = page([Examples(items)])
    assert [tag for tag, _ in found.elements].count("article") == 12
    assert [attributes["type"] for tag, attributes in found.elements if tag == "input"] == [
        "search"
    ]
    assert not [tag for tag, _ in page([Examples(items[:1])]).elements if tag == "input"]


def test_a_table_without_headings_has_no_empty_head() -> None:
    assert "thead" not in [tag for tag, _ in page([Table(["", ""], [["a", "1"]])]).elements]
    assert "thead" in [tag for tag, _ in page([Table(["x", ""], [["a", "1"]])]).elements]
