"""Figures as SVG, drawn by matplotlib.

matplotlib is imported when a figure is drawn, since it takes half a second. The same figure always
gives the same bytes. Text stays text, and colours suit light and dark backgrounds: the axes have
the colour of the text around the drawing, and a page can choose the colours of series with the CSS
variables `--series-1`, `--series-2`, ….
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recipekit.report.blocks import Block, Figure, Point, figures_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

__all__ = ["can_draw", "figure_file", "render_svg", "write_figures"]

Series = Mapping[str, Sequence[Point]]

POINTS_PER_INCH: Final = 72
WIDTH: Final = 480
"""Width in pixels. Small, so that text stays readable where a phone shrinks the drawing."""
PANEL: Final = 230
"""Height of a plot with lines; further plots of the same figure are lower."""
LOWER_PANEL: Final = 170
ROW: Final = 32
"""Height of a bar or of a row of intervals."""
INK: Final = "#6b7380"
"""The colour of text and axes where no page sets another; readable on white and on black."""
COLOURS: Final = ("#3b7fc4", "#d97a26", "#3a9a5c", "#9566b8", "#cf4f5b", "#2b9aa0", "#8a8f98")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
MARKED_POINTS: Final = 40
"""Series with at most this many points show each of them."""
LONGEST_NAME: Final = 32
"""Characters of a name in a legend or on an axis; longer ones are cut."""
SETTINGS: Final[dict[str, Any]] = {
    "svg.hashsalt": "recipekit",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so the layout is the same everywhere
    "font.size": 12.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12.5,
    "axes.titlelocation": "left",
    "axes.unicode_minus": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


def can_draw() -> bool:
    """Whether matplotlib is installed. Without it, a report has only the tables of its figures."""
    return find_spec("matplotlib") is not None


def figure_file(figure: Figure) -> str:
    """Return the name of a figure's file, made of its title."""
    return re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-") + ".svg"


def write_figures(blocks: Sequence[Block], folder: Path) -> dict[str, str]:
    """Write all figures of some blocks into a folder, which is made if there is one.

    Returns:
        The SVG of each figure by the name of its file; empty without matplotlib.

    Raises:
        OSError: The folder cannot be written to.
    """
    if not can_draw():
        return {}
    drawings = {figure_file(figure): render_svg(figure) for figure in figures_of(blocks)}
    for name, drawing in drawings.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(drawing, encoding="utf-8")
    return drawings


def render_svg(figure: Figure) -> str:
    """Draw a figure: all series in one plot, or one plot for each if their scales differ."""
    import matplotlib

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports that it caches fonts
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc changes nothing
        matplotlib.rcParams.update(SETTINGS)
        return _cleaned(_svg(_drawing(figure)), figure.title)


def _drawing(figure: Figure) -> Drawing:
    from matplotlib.figure import Figure as Drawing

    series = _finite(figure.series)
    plots = [{name: points} for name, points in series.items()] if figure.scales_differ else []
    plots = plots or [dict(series)]
    names = [] if figure.scales_differ or len(series) < 2 else list(series)
    heights = _heights(figure, len(plots), legend=-(-len(names) // _legend_columns(names)))
    size = (WIDTH / POINTS_PER_INCH, sum(heights) / POINTS_PER_INCH)
    drawing = Drawing(figsize=size, dpi=POINTS_PER_INCH, layout="constrained")
    drawing.patch.set_visible(False)
    axes = drawing.subplots(len(plots), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(series)}
    for ax, plot in zip(axes, plots, strict=True):
        ax.patch.set_visible(False)
        _plot(ax, figure, plot, colours)
        if figure.scales_differ:
            ax.set_title("".join(map(_short, plot)), pad=8)
        elif figure.y:
            ax.set_ylabel(figure.y)
    _label(axes[-1], figure)
    if names:
        _legend(drawing, names)
    return drawing


def _finite(series: Series) -> dict[str, list[Point]]:
    """The points that can be drawn, of every series that has some."""
    found = {
        name: [point for point in points if all(map(math.isfinite, point))]
        for name, points in series.items()
    }
    return {name: points for name, points in found.items() if points}


def _heights(figure: Figure, plots: int, *, legend: int) -> list[float]:
    """The height of each plot, with room for the rows of the legend."""
    if figure.kind in ("bars", "intervals"):
        return [ROW * max(1, len(figure.categories)) + 50 + 24 * legend]
    return [PANEL + 24 * legend, *[LOWER_PANEL] * (plots - 1)]


def _plot(ax: Axes, figure: Figure, series: Series, colours: Mapping[str, str]) -> None:
    across = figure.kind in ("bars", "intervals")
    ax.grid(axis="x" if across else "y", color=INK, alpha=0.2, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=3, width=0.8)
    if across:
        ax.set_yticks(range(len(figure.categories)), list(map(_short, figure.categories)))
        ax.set_ylim(len(figure.categories) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    if figure.log_x:
        _log_axis(ax, figure.series)
    for at, (name, points) in enumerate(series.items()):
        marker = MARKERS[list(colours).index(name) % len(MARKERS)]
        match figure.kind:
            case "lines":
                _lines(ax, points, colours[name], marker)
            case "points":
                _points(ax, points, colours[name], marker)
            case "histogram":
                _histogram(ax, points, colours[name])
            case "bars":
                _bars(ax, points, colours[name], figure.values)
            case "intervals":
                _intervals(ax, points, colours[name], marker, (at, len(series)))
    if figure.mark is not None:
        _mark(ax, *figure.mark)


def _lines(ax: Axes, points: Sequence[Point], colour: str, marker: str) -> None:
    shown = marker if len(points) <= MARKED_POINTS else "None"
    x, y = [point[0] for point in points], [point[1] for point in points]
    ax.plot(x, y, color=colour, marker=shown)


def _points(ax: Axes, points: Sequence[Point], colour: str, marker: str) -> None:
    """Draw single points with their intervals, and no line between them."""
    for point in points:
        x, y, low, high = point if len(point) == 4 else (*point, point[1], point[1])
        ax.plot([x, x], [low, high], color=colour, linewidth=1.4, alpha=0.5)
        ax.plot([x], [y], color=colour, marker=marker, markersize=7, linestyle="None")


def _histogram(ax: Axes, points: Sequence[Point], colour: str) -> None:
    heights, edges = [point[1] for point in points[:-1]], [point[0] for point in points]
    ax.stairs(heights, edges, color=colour, fill=True, alpha=0.12)
    ax.stairs(heights, edges, color=colour, linewidth=1.6)


def _bars(ax: Axes, points: Sequence[Point], colour: str, values: Sequence[str]) -> None:
    rows, widths = [point[0] for point in points], [point[1] for point in points]
    bars = ax.barh(rows, widths, height=0.6, color=colour)
    if values:
        ax.bar_label(bars, labels=list(values), padding=4)
        ax.margins(x=0.22)  # room for the text
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)


def _intervals(
    ax: Axes, points: Sequence[Point], colour: str, marker: str, place: tuple[int, int]
) -> None:
    """Draw points with their intervals; several series share a row, one below the other."""
    at, count = place
    shift = (at - (count - 1) / 2) * 0.7 / count
    for point in points:
        row, value, low, high = point if len(point) == 4 else (*point, point[1], point[1])
        ax.plot([low, high], [row + shift] * 2, color=colour, linewidth=2, solid_capstyle="round")
        ax.plot([value], [row + shift], color=colour, marker=marker, markersize=6)


def _log_axis(ax: Axes, series: Series) -> None:
    """A logarithmic axis with a tick at every x value, as far as their labels fit."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xscale("log")
    ticks: list[float] = []
    depths = {point[0] for points in series.values() for point in points}
    for x in sorted(depths, reverse=True):
        if not ticks or 1.35 * x <= ticks[-1]:
            ticks.append(x)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))


def _mark(ax: Axes, x: float, label: str) -> None:
    ax.axvline(x, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    low, high = ax.get_xlim()
    on_the_right = x > (low + high) / 2
    ax.annotate(
        label,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if on_the_right else 4, 2),
        textcoords="offset points",
        ha="right" if on_the_right else "left",
        va="bottom",
        fontsize=11.5,
    )


def _label(ax: Axes, figure: Figure) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if figure.x:
        ax.set_xlabel(figure.x)
    if figure.kind in ("lines", "histogram", "points") and not figure.log_x:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=figure.kind == "lines"))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))


def _legend(drawing: Drawing, names: Sequence[str]) -> None:
    """Name the series above the plot, in as many columns as fit."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[at % len(COLOURS)], marker=MARKERS[at % len(MARKERS)])
        for at in range(len(names))
    ]
    shown = list(map(_short, names))
    legend = drawing.legend(
        handles,
        [f"series {at}" for at in range(len(names))],  # names that start with _ would be left out
        loc="outside upper left",
        ncols=_legend_columns(names),
        handlelength=1.4,
        columnspacing=1.4,
        borderpad=0,
    )
    for text, name in zip(legend.get_texts(), shown, strict=True):
        text.set_text(name)


def _legend_columns(names: Sequence[str]) -> int:
    """How many names fit next to each other."""
    longest = max((len(_short(name)) for name in names), default=0)
    return max(1, min(len(names), WIDTH // (8 * longest + 40)))


def _short(name: str) -> str:
    flat = " ".join(name.split())
    return flat if len(flat) <= LONGEST_NAME else f"{flat[: LONGEST_NAME - 1]}…"


def _svg(drawing: Drawing) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(drawing).print_svg(buffer, metadata=none)
    return buffer.getvalue()


def _cleaned(svg: str, title: str) -> str:
    """A drawing that is small and takes its colours and its font from the page around it."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    viewbox = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = viewbox.groups() if viewbox else (str(WIDTH), str(PANEL))
    body = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"(?<=\s)xlink:href=", "href=", body)
    body = body.replace("'DejaVu Sans'", "system-ui, sans-serif").replace(INK, "currentColor")
    for at, colour in enumerate(COLOURS, start=1):
        body = re.sub(f"(?<=: ){colour}", f"var(--series-{at}, {colour})", body)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", body)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r">\s*\n\s*<", ">\n<", body).strip()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        f'style="color: {INK}; stroke-linejoin: round; stroke-linecap: butt">\n'
        f"<title>{escape(title)}</title>\n{body}\n</svg>\n"
    )
