"""Blocks of a report: plain data that renderers turn into HTML, Markdown or terminal output.

Blocks hold text and numbers, never markup. A renderer escapes what it prints, so text from a data
set cannot become formatting. `recipekit.report.html`, `recipekit.report.markdown` and
`recipekit.report.terminal` render every kind of block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Block",
    "Bullets",
    "Code",
    "Example",
    "Examples",
    "Figure",
    "FilePath",
    "Headline",
    "Line",
    "Listing",
    "Point",
    "ReportSection",
    "Span",
    "StageReport",
    "Strong",
    "Table",
    "Text",
    "figures_of",
    "join",
    "spans",
]


@dataclass(frozen=True)
class Code:
    """A name, path or command inside a line of text."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Emphasized text inside a line."""

    text: str


@dataclass(frozen=True)
class FilePath:
    """A path inside a table or a title. Terminals shorten it in the middle where it does not fit.

    A path that people copy, such as that of a report, is `Code`.
    """

    text: str


Span = str | Code | Strong | FilePath
Line = Span | tuple[Span, ...]
"""One line or paragraph: a span, or several that follow each other without a separator."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    content: Line


@dataclass(frozen=True)
class Bullets:
    """A list, numbered if `ordered`."""

    items: Sequence[Line]
    ordered: bool = False


@dataclass(frozen=True)
class Listing:
    """Lines shown exactly as they are, such as a shell command."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first `left` columns are aligned left, the others right."""

    header: Sequence[Line]
    rows: Sequence[Sequence[Line]]
    left: int = 1
    title: Line = ""


@dataclass(frozen=True)
class Headline:
    """The main result of a run: a sentence, and its numbers for output that shows them large."""

    sentence: str
    values: Sequence[tuple[str, str, str]] = ()
    """A label, a number, and a remark such as its interval, for each number."""


Point = tuple[float, float] | tuple[float, float, float, float]
"""(x, y), or (x, y, low, high) with the ends of the interval around y."""


@dataclass(frozen=True)
class Figure:
    """One or more data series over a shared axis.

    Markdown and terminal output show `table`, which holds the same figures in short; the report of
    a run also has an SVG file. HTML contains the drawing and, folded, the table.
    """

    title: str
    x: str
    """What the x values are, such as `step`."""
    series: Mapping[str, Sequence[Point]]
    """The points of each named series, by ascending x."""
    table: Table
    y: str = ""
    """What the y values are, if their series' names do not say it."""
    scales_differ: bool = False
    """Whether each series has a plot of its own."""
    kind: Literal["lines", "points", "histogram", "bars", "intervals"] = "lines"
    """How the points are drawn.

    `points`: without a line between them.
    `histogram`: x is the lower edge of a bin; the last point is the upper edge of the last bin.
    `bars` and `intervals`: x counts `categories`, which are listed from top to bottom; y is drawn
    from left to right.
    """
    categories: Sequence[str] = ()
    """The names of the x values 0, 1, … of bars and intervals."""
    values: Sequence[str] = ()
    """The text at the end of each bar."""
    log_x: bool = False
    """Whether x has a logarithmic scale, with a tick at every x value."""
    mark: tuple[float, str] | None = None
    """An x value that a vertical line marks, and what it is."""


@dataclass(frozen=True)
class Example:
    """A query and a passage with what is known of the pair."""

    query: str
    passage_id: str
    passage: str
    facts: Sequence[Line]


@dataclass(frozen=True)
class Examples:
    """Query and passage pairs in full."""

    items: Sequence[Example]
    shown: int = 8
    """How many items Markdown and terminal output show. HTML shows all, with a search box."""


@dataclass(frozen=True)
class ReportSection:
    """Blocks under a heading. Sections nest: the depth decides the heading's level."""

    title: Line
    blocks: Sequence[Block]


Block = Text | Bullets | Listing | Table | Headline | Figure | Examples | ReportSection


@dataclass(frozen=True)
class StageReport:
    """How a stage describes the artifact that it wrote."""

    headline: Headline | None = None
    """The run's main result, if this stage has it."""
    sentence: Line = ""
    """What the stage did, in one or two sentences."""
    results: Sequence[Block] = ()
    """Results that come before all details, such as tables of metrics."""
    details: Sequence[Block] = ()
    """Everything else, shown under the stage's own heading."""
    at_end: Sequence[Block] = field(default=())
    """What `recipekit run` prints when it finishes."""
    on_cards: Sequence[Block] = field(default=())
    """What the cards of exports have of it, in addition to its figures."""


def figures_of(blocks: Iterable[Block]) -> Iterator[Figure]:
    """All figures of some blocks, those in sections too."""
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, ReportSection):
            yield from figures_of(block.blocks)


def spans(line: Line) -> tuple[Span, ...]:
    """The spans of a line."""
    return line if isinstance(line, tuple) else (line,)


def join(lines: Sequence[Line], separator: str = ", ") -> Line:
    """Several lines as one, with a separator between them."""
    joined: list[Span] = []
    for line in lines:
        if joined:
            joined.append(separator)
        joined.extend(spans(line))
    return tuple(joined)
