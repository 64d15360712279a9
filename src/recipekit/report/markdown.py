"""Render blocks as Markdown. Text is escaped, so that it shows as it is and forms no markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from recipekit.report.blocks import (
    Block,
    Bullets,
    Code,
    Example,
    Examples,
    Figure,
    FilePath,
    Headline,
    Line,
    Listing,
    ReportSection,
    Span,
    Strong,
    Table,
    Text,
    spans,
)
from recipekit.report.svg import figure_file

__all__ = ["code", "escape", "render_markdown"]

_SPECIAL = re.compile(
    r"""
    (?P<interval> \[ [-+\d.]+ , [ ] [-+\d.]+ \] (?! [(\[:] ) )
    | [\\`*{}\[\]|~] | [$] (?! \d )
    | (?<! [A-Za-z0-9] ) _ | _ (?! [A-Za-z0-9] )
    | < (?= [A-Za-z/!?] ) | & (?= [A-Za-z\#] ) | \# (?= \S )
    """,
    re.VERBOSE,
)
"""What forms markup inside a line. The brackets of an interval `[0.36, 0.42]` form none."""
_LINE_START = re.compile(r"^([-+](?=\s|$)|[-=](?=[-=])|\d+[.)](?=\s|$)|>|\#+(?=\s|$))")
"""What forms a list, a rule, a quotation or a heading at the start of a line."""


def render_markdown(blocks: Sequence[Block], *, level: int = 1, figures: str = "") -> str:
    """Blocks as one Markdown document.

    Args:
        blocks: The blocks.
        level: The level of the first headings.
        figures: The folder of the figures' files, which are shown; empty shows only tables.
    """
    return "\n\n".join(part for block in blocks for part in _render(block, level, figures)) + "\n"


def _render(block: Block, level: int, figures: str) -> Iterator[str]:
    match block:
        case Text(content):
            yield _paragraph(content)
        case Bullets():
            yield "\n".join(_bullets(block))
        case Listing(text, language):
            yield _fenced(text, language)
        case Table():
            yield from _table(block)
        case Headline(sentence):
            yield _paragraph(Strong(sentence))
        case Figure():
            if figures:
                yield f"![{escape(block.title)}]({figures}/{figure_file(block)})"
            if block.table.header:
                yield from _table(block.table)
        case Examples(items, shown):
            yield "\n".join(line for example in items[:shown] for line in _example(example))
        case ReportSection(title, blocks):
            yield f"{'#' * min(level, 6)} {_inline(title)}"
            for inner in blocks:
                yield from _render(inner, level + 1, figures)


def _bullets(block: Bullets) -> Iterator[str]:
    for number, item in enumerate(block.items, start=1):
        bullet = f"{number}." if block.ordered else "-"
        yield f"{bullet} {_paragraph(item)}"


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _table(table: Table) -> Iterator[str]:
    if table.title:
        title = "".join(span if isinstance(span, str) else span.text for span in spans(table.title))
        yield f"**{escape(title)}**"
    rule = ["---" if column < table.left else "--:" for column in range(len(table.header))]
    rows = [_cells(table.header), rule, *map(_cells, table.rows)]
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(row: Sequence[Line]) -> list[str]:
    return [_inline(cell) for cell in row]


def _example(example: Example) -> Iterator[str]:
    yield f"- **{escape(example.query)}**"
    yield f"  - {code(example.passage_id)} {escape(example.passage)}"
    for fact in example.facts:
        yield f"  - {_paragraph(fact)}"


def _paragraph(line: Line) -> str:
    return _escape_line_start(_inline(line))


def _inline(line: Line) -> str:
    return " ".join("".join(map(_span, spans(line))).split("\n")).strip()


def _span(span: Span) -> str:
    match span:
        case Code(text) | FilePath(text):
            return code(text)
        case Strong(text):
            return f"**{_escape_characters(text)}**"
        case str(text):
            return _escape_characters(text)


def escape(text: str) -> str:
    """Text as one line that Markdown shows as it is."""
    return _escape_line_start(_escape_characters(" ".join(text.split())))


def _escape_characters(text: str) -> str:
    flat = re.sub(r"\s+", " ", text)
    return _SPECIAL.sub(lambda match: match["interval"] or f"\\{match[0]}", flat)


def _escape_line_start(text: str) -> str:
    return _LINE_START.sub(lambda match: f"{match[1][:-1]}\\{match[1][-1]}", text, count=1)


def code(text: str) -> str:
    """Text as a code span, also if it contains backticks or goes into a table."""
    flat = " ".join(text.split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{flat}{pad}{fence}"
