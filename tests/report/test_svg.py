"""Figures are drawn as SVG files next to the report."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from recipekit.report.blocks import Figure, Table
from recipekit.report.markdown import render_markdown
from recipekit.report.svg import figure_file, render_svg

pytestmark = pytest.mark.usefixtures("drawn_figures")
SVG = "{http://www.w3.org/2000/svg}"
TABLE = Table(["step"], [["1"]], left=0)
NAMES = "$a_b$ <b>", "_hidden"
KINDS = [
    Figure("Lines", "step", {NAMES[0]: [(0, 1.0), (5, 2.0)], NAMES[1]: [(0, 3.0)]}, TABLE),
    Figure(
        "Points",
        "speed",
        {NAMES[0]: [(5, 0.5, 0.4, 0.6)], NAMES[1]: [(9, 0.5)]},
        TABLE,
        kind="points",
    ),
    Figure(
        "Histogram",
        "score",
        {NAMES[0]: [(0, 0.2), (1, 0.8), (2, 0)], NAMES[1]: [(0, 1)]},
        TABLE,
        kind="histogram",
    ),
    Figure(
        "Bars",
        "",
        {"seconds": [(0, 3.0), (1, 4.0)]},
        TABLE,
        kind="bars",
        categories=NAMES,
        values=["3 s", "4 s"],
    ),
    Figure(
        "Intervals",
        "kappa",
        {NAMES[0]: [(0, 0.5, 0.4, 0.6)], NAMES[1]: [(0, 0.5)]},
        TABLE,
        kind="intervals",
        categories=["strict"],
    ),
]


def drawn(figure: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(render_svg(figure))


def texts(figure: Figure) -> list[str]:
    return ["".join(text.itertext()).strip() for text in drawn(figure).iter(f"{SVG}text")]


def lines(figure: Figure) -> list[list[tuple[float, float]]]:
    """The points of each drawn series, in pixels."""
    found = []
    for path in drawn(figure).iter(f"{SVG}path"):
        style = path.get("style", "")
        if "fill: none" in style and "var(--series" in style and path.get("clip-path"):
            pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
            found.append([(float(x), float(y)) for x, y in pairs])
    return found


def test_higher_values_are_drawn_higher_and_later_ones_further_right() -> None:
    ((a, b, c),) = lines(Figure("Loss", "step", {"loss": [(0, 2.0), (10, 1.0), (20, 1.5)]}, TABLE))
    assert a[0] < b[0] < c[0]
    assert b[0] - a[0] == pytest.approx(c[0] - b[0])
    assert a[1] < c[1] < b[1], "SVG counts from the top"
    assert b[1] - c[1] == pytest.approx(c[1] - a[1])


def test_series_of_different_scales_have_plots_of_their_own_over_the_same_axis() -> None:
    series = {"loss": [(0, 2.0), (20, 1.0)], "dev ndcg@10": [(0, 0.3), (10, 0.4), (20, 0.35)]}
    apart = Figure("Curve", "step", series, TABLE, scales_differ=True)
    loss, dev = lines(apart)
    assert max(y for _, y in loss) < min(y for _, y in dev)
    assert (loss[0][0], loss[-1][0]) == (dev[0][0], dev[-1][0])
    assert {"loss", "dev ndcg@10", "step"} <= set(texts(apart))


@pytest.mark.parametrize("figure", KINDS, ids=lambda figure: figure.kind)
def test_names_are_shown_as_they_are_in_every_kind_of_figure(figure: Figure) -> None:
    assert set(NAMES) <= set(texts(figure)), "neither mathematics nor markup, and none left out"


@pytest.mark.parametrize("figure", KINDS, ids=lambda figure: figure.kind)
def test_the_same_figure_gives_the_same_bytes_without_a_date(figure: Figure) -> None:
    svg = render_svg(figure)
    assert svg == render_svg(figure)
    assert "metadata" not in svg
    assert "<style" not in svg, "rules of a drawing would apply to the whole page"


def test_a_page_can_choose_the_colours() -> None:
    svg = render_svg(KINDS[0])
    assert "fill: currentColor" in svg
    assert "var(--series-1, #3b7fc4)" in svg
    assert "var(--series-2, " in svg
    assert not re.search(r"(fill|stroke): #", svg), "a colour of one background only"


def test_what_is_not_finite_is_left_out() -> None:
    figure = Figure("A < B", "x", {"a": [(0, 1.0), (1, float("nan")), (2, 1.0)], "no": []}, TABLE)
    assert [len(points) for points in lines(figure)] == [2]
    assert lines(Figure("Empty", "x", {}, TABLE)) == []


def test_intervals_reach_from_their_low_end_to_their_high_end() -> None:
    points = [(0, 0.5, 0.4, 0.6), (1, 0.8, 0.7, 0.9)]
    figure = Figure("I", "x", {"a": points}, TABLE, kind="intervals", categories=["one", "two"])
    (low, high), (upper_low, upper_high) = (line for line in lines(figure) if len(line) == 2)
    assert low[0] < high[0] < upper_low[0] < upper_high[0]
    assert low[1] == high[1] < upper_low[1], "the first category is on top"


def test_every_depth_of_a_logarithmic_axis_is_labelled() -> None:
    depths = {"bm25": [(10, 0.5), (50, 0.6), (100, 0.7), (1000, 0.9)]}
    assert {"10", "50", "100", "1,000"} <= set(
        texts(Figure("R", "depth", depths, TABLE, log_x=True))
    )


def test_markdown_shows_the_file_above_the_table_where_there_is_one() -> None:
    figure = Figure("Learning curve", "step", {"loss": [(0, 1.0)]}, TABLE)
    assert figure_file(figure) == "learning-curve.svg"
    text = render_markdown([figure], figures="figures")
    assert text.startswith("![Learning curve](figures/learning-curve.svg)\n\n")
    assert "![" not in render_markdown([figure])
