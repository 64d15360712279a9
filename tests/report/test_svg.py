"""Figures are drawn as SVG files next to the report."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from recipekit.report.blocks import Figure, Table
from recipekit.report.markdown import render_markdown
from recipekit.report.svg import figure_file, render_svg

SVG = "{http://www.w3.org/2000/svg}"
TABLE = Table(["step"], [["1"]], left=0)


def drawn(figure: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(render_svg(figure))


def lines(figure: Figure) -> list[list[tuple[float, float]]]:
    """The pixels of each drawn series."""
    return [
        [tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d"))]
        for path in drawn(figure).iter(f"{SVG}path")
        if path.get("fill") == "none"
    ]


def test_higher_values_are_drawn_higher_and_later_ones_further_right() -> None:
    ((a, b, c),) = lines(Figure("Loss", "step", {"loss": [(0, 2.0), (10, 1.0), (20, 1.5)]}, TABLE))
    assert a[0] < b[0] < c[0]
    assert b[0] - a[0] == c[0] - b[0]
    assert a[1] < c[1] < b[1], "SVG counts from the top"
    assert abs((b[1] - c[1]) - (c[1] - a[1])) < 0.2


def test_series_of_different_scales_have_plots_of_their_own_over_the_same_axis() -> None:
    series = {"loss": [(0, 2.0), (20, 1.0)], "dev ndcg@10": [(0, 0.3), (10, 0.4), (20, 0.35)]}
    together = Figure("Curve", "step", series, TABLE)
    apart = Figure("Curve", "step", series, TABLE, scales_differ=True)
    heights = [float(drawn(figure).get("height")) for figure in (together, apart)]
    assert heights[1] == 2 * heights[0]
    loss, dev = lines(apart)
    assert max(y for _, y in loss) < min(y for _, y in dev)
    assert (loss[0][0], loss[-1][0]) == (dev[0][0], dev[-1][0])
    texts = [text.text for text in drawn(apart).iter(f"{SVG}text")]
    assert {"loss", "dev ndcg@10", "step"} <= set(texts)


def test_names_are_escaped_and_what_is_not_finite_is_left_out() -> None:
    figure = Figure("A < B", "x", {"<b>": [(0, 1.0), (1, float("nan")), (2, 1.0)], "no": []}, TABLE)
    assert [len(points) for points in lines(figure)] == [2]
    assert "<b>" in [text.text for text in drawn(figure).iter(f"{SVG}text")]
    assert list(drawn(Figure("Empty", "x", {}, TABLE)).iter(f"{SVG}path")) == []


def test_markdown_shows_the_file_above_the_table_where_there_is_one() -> None:
    figure = Figure("Learning curve", "step", {"loss": [(0, 1.0)]}, TABLE)
    assert figure_file(figure) == "learning-curve.svg"
    text = render_markdown([figure], figures="figures")
    assert text.startswith("![Learning curve](figures/learning-curve.svg)\n\n")
    assert "![" not in render_markdown([figure])
