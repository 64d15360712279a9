"""Figures as SVG files: lines over a shared axis, without a plotting library."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from recipekit.report.blocks import Figure

__all__ = ["figure_file", "render_svg"]

Points = Sequence[tuple[float, float]]

WIDTH: Final = 720
PANEL: Final = 200
"""Height of one plot, without its title and the labels of its axis."""
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 34, 40
COLOURS: Final = ("#2f6db3", "#c2571a", "#3c8d40", "#8a4fa3", "#b0303a", "#6b6b6b")
MARKED_POINTS: Final = 40
"""Series with at most this many points show each of them."""


def figure_file(figure: Figure) -> str:
    """Return the name of a figure's file, made of its title."""
    return re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-") + ".svg"


def render_svg(figure: Figure) -> str:
    """Draw a figure: all series in one plot, or one plot for each if their scales differ."""
    series = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in figure.series.items()
    }
    series = {name: points for name, points in series.items() if points}
    plots = [{name: points} for name, points in series.items()] if figure.scales_differ else []
    plots = plots or ([series] if series else [])
    all_x = [x for points in series.values() for x, _ in points] or [0.0]
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(series)}
    step = TOP + PANEL + BOTTOM
    body = [
        line
        for at, plot in enumerate(plots)
        for line in _plot(plot, colours, (min(all_x), max(all_x)), figure.x, at * step)
    ]
    height = max(1, len(plots)) * step
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" '
            'fill="#333" role="img">',
            f"<title>{escape(figure.title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *body,
            "</svg>\n",
        ]
    )


def _plot(
    series: Mapping[str, Points],
    colours: dict[str, str],
    x_range: tuple[float, float],
    x_label: str,
    offset: int,
) -> Iterator[str]:
    """Draw one plot, `offset` pixels from the top."""
    values = [y for points in series.values() for _, y in points]
    ticks = _ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    top, bottom = offset + TOP, offset + TOP + PANEL
    first, last = x_range

    def at_x(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return bottom - (y - low) / (high - low) * (bottom - top)

    legend = LEFT
    for name in series:
        yield f'<rect x="{legend}" y="{top - 21}" width="10" height="10" fill="{colours[name]}"/>'
        yield f'<text x="{legend + 15}" y="{top - 12}">{escape(name)}</text>'
        legend += 35 + 7 * len(name)
    for tick in ticks:
        y = at_y(tick)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>'
    for tick in _ticks(first, last):
        if first <= tick <= last:
            yield f'<path d="M{at_x(tick):.1f} {bottom}v5" stroke="#999"/>'
            yield (
                f'<text x="{at_x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">'
                f"{tick:,.6g}</text>"
            )
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" stroke="#999"/>'
    yield f'<text x="{middle:.0f}" y="{bottom + 34}" text-anchor="middle">{escape(x_label)}</text>'
    for name, points in series.items():
        path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in points)
        yield f'<path d="M{path}" fill="none" stroke="{colours[name]}" stroke-width="1.8"/>'
        if len(points) <= MARKED_POINTS:
            for x, y in points:
                yield (
                    f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="2.8" '
                    f'fill="{colours[name]}"/>'
                )


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover a range, about `count` of them."""
    if high <= low:
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]
