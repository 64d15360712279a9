"""Render blocks for a terminal with rich.

On a terminal, tables fit its width and headers are bold. `NO_COLOR`, `TERM=dumb`, pipes and files
get no escape codes. In a pipe or a file, tables and paragraphs keep their full width, one line
each, so that other programs can read them, unless `COLUMNS` is set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING

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
    join,
    spans,
)
from recipekit.report.terminal_stream import columns, shows_escape_codes

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

__all__ = ["print_blocks", "printable", "shortened_path"]

UNLIMITED = 100_000
"""Columns of a stream that is not a terminal."""
BREAKABLE = 20
"""Words of a table that are longer, such as paths, can be broken to make it fit."""
GAP = 2
"""Spaces between the columns of a table."""


_PARAGRAPHS = Text | Bullets | Headline


def print_blocks(blocks: Sequence[Block], stream: IO[str] | None = None) -> None:
    """Print blocks to a stream, standard output by default.

    Raises:
        OSError: The stream cannot be written to.
    """
    stream = stream or sys.stdout
    stream.write(_render(blocks, _console(stream)))
    stream.flush()


def _console(stream: IO[str]) -> Console:
    """A rich console for a stream, with its width, and with colours only where it shows them."""
    from rich.console import Console

    styled = shows_escape_codes(stream)
    return Console(
        file=stream,
        width=columns(stream, UNLIMITED),
        force_terminal=styled,
        color_system="auto" if styled else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _render(blocks: Sequence[Block], console: Console) -> str:
    """Blocks as text for a console, without trailing spaces."""
    with console.capture() as capture:
        _print_all(blocks, console)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _needs_space(before: Block, block: Block) -> bool:
    """Paragraphs follow each other without an empty line; everything else is set apart."""
    return not (isinstance(before, _PARAGRAPHS) and isinstance(block, _PARAGRAPHS))


def _only_drawn(block: Block) -> bool:
    """Whether a block is a figure whose numbers another table has."""
    return isinstance(block, Figure) and not block.table.header


def _print(block: Block, console: Console) -> None:
    match block:
        case Text(content):
            console.print(_inline(content))
        case Bullets():
            _print_bullets(block, console)
        case Listing(text):
            console.print(_plain(text), soft_wrap=True)
        case Table():
            _print_table(block, console)
        case Headline(sentence):
            console.print(_inline(Strong(sentence)))
        case Figure():
            _print_table(block.table, console)
        case Examples(items, shown):
            for position, example in enumerate(items[:shown]):
                if position:
                    console.print()
                _print_example(example, console)
        case ReportSection(title, blocks):
            heading = _inline(title)
            heading.stylize("bold")
            console.print(heading)
            _print_all(blocks, console)


def _print_all(blocks: Sequence[Block], console: Console) -> None:
    blocks = [block for block in blocks if not _only_drawn(block)]
    for position, block in enumerate(blocks):
        if position and _needs_space(blocks[position - 1], block):
            console.print()
        _print(block, console)


def _print_bullets(bullets: Bullets, console: Console) -> None:
    for number, item in enumerate(bullets.items, start=1):
        bullet = f"{number}. " if bullets.ordered else "- "
        console.print(_hanging(bullet, _inline(item)))


def _print_table(table: Table, console: Console) -> None:
    """Print a table, or its cells one below the other on a terminal that is too narrow for it."""
    table = _with_short_paths(table, console.width)
    if table.title:
        title = _inline(table.title)
        title.stylize("bold")
        console.print(title)
    if _least_width(table) <= console.width:
        console.print(_rich_table(table, console.width))
        return
    for row in table.rows:
        console.print(_inline(row[0]))
        for header, cell in zip(table.header[1:], row[1:], strict=True):
            if spans(cell) != ("",):
                console.print(_hanging("  ", _inline(join([header, cell], ": "))))


def _with_short_paths(table: Table, width: int) -> Table:
    """A table whose paths fit their columns."""
    widths = _column_widths(table, width)
    rows: list[list[Line]] = [
        [
            FilePath(shortened_path(cell.text, room)) if isinstance(cell, FilePath) else cell
            for cell, room in zip(row, widths, strict=True)
        ]
        for row in table.rows
    ]
    return replace(table, rows=rows, title=_with_short_path(table.title, width))


def _with_short_path(line: Line, width: int) -> Line:
    """A line whose path is so short that the line fits."""
    from rich.cells import cell_len

    missing = cell_len(_inline(line).plain) - width
    if missing <= 0:
        return line
    return tuple(
        FilePath(shortened_path(span.text, max(len(span.text) - missing, BREAKABLE)))
        if isinstance(span, FilePath)
        else span
        for span in spans(line)
    )


def shortened_path(path: str, width: int) -> str:
    """A path of at most `width` characters: `/home/…/recipe/cache`. Its end is kept if possible."""
    if len(path) <= width:
        return path
    start = (width - 1) // 3
    return f"{path[:start]}…{path[len(path) - (width - 1 - start) :]}"


def _least_width(table: Table) -> int:
    """The width at which only words longer than `BREAKABLE` have to be broken."""
    return sum(_least_widths(table)) + GAP * (len(table.header) - 1)


def _least_widths(table: Table) -> list[int]:
    """For each column, the length of its longest word that must not be broken."""
    from rich.cells import cell_len

    widths = []
    for column in zip(table.header, *table.rows, strict=True):
        words = [word for cell in column for word in _inline(cell).plain.split()]
        widths.append(min(max(map(cell_len, words), default=0), BREAKABLE))
    return widths


def _column_widths(table: Table, width: int) -> list[int]:
    """The widths of columns in a table of at most `width`: what their cells need, if possible.

    Otherwise, the widest columns are as narrow as it takes.
    """
    widths, natural = _least_widths(table), _natural_widths(table)
    spare = width - sum(widths) - GAP * (len(widths) - 1)
    by_need = sorted(range(len(widths)), key=lambda column: natural[column] - widths[column])
    for position, column in enumerate(by_need):
        share = max(spare, 0) // (len(by_need) - position)
        more = min(natural[column] - widths[column], share)
        widths[column] += more
        spare -= more
    return widths


def _natural_widths(table: Table) -> list[int]:
    """For each column, the length of its longest line."""
    from rich.cells import cell_len

    return [
        max(cell_len(line) for cell in column for line in _inline(cell).plain.split("\n"))
        for column in zip(table.header, *table.rows, strict=True)
    ]


def _rich_table(table: Table, width: int) -> RichTable:
    from rich.table import Table as RichTable

    has_header = any(spans(cell) != ("",) for cell in table.header)
    grid = RichTable(
        box=None,
        show_header=has_header,
        header_style="bold",
        padding=(0, GAP, 0, 0),
        pad_edge=False,
    )
    for column, (cell, room) in enumerate(
        zip(table.header, _column_widths(table, width), strict=True)
    ):
        grid.add_column(
            _inline(cell),
            width=room,
            justify="left" if column < table.left else "right",
            overflow="fold",
        )
    for row in table.rows:
        grid.add_row(*map(_inline, row))
    return grid


def _print_example(example: Example, console: Console) -> None:
    query = _plain(example.query)
    query.stylize("bold")
    console.print(query)
    for line in ((Code(example.passage_id), " ", example.passage), *example.facts):
        console.print(_hanging("  ", _inline(line)))


def _hanging(bullet: str, text: RichText) -> RenderableType:
    """Text after a bullet; continued lines are indented as far as the first."""
    from rich.table import Table as RichTable

    grid = RichTable.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(_plain(bullet), text)
    return grid


def _inline(line: Line) -> RichText:
    from rich.text import Text as RichText

    return RichText().join(map(_span, spans(line)))


def _span(span: Span) -> RichText:
    match span:
        case Code(text) | FilePath(text):
            styled = _plain(text)
            styled.stylize("cyan")
        case Strong(text):
            styled = _plain(text)
            styled.stylize("bold")
        case str(text):
            styled = _plain(text)
    return styled


def _plain(text: str) -> RichText:
    from rich.text import Text as RichText

    return RichText(printable(text))


def printable(text: str) -> str:
    """Text without control characters, so that no text can send escape codes to a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
