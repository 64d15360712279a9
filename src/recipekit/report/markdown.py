"""Markdown and plain-text building blocks.

What comes from data is escaped, so that it can form no markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["code", "columns", "escape", "excerpt", "table"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LINE_START = re.compile(r"^([-+](?=\s|$)|[-=](?=[-=])|\d+[.)](?=\s|$))")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    flat = " ".join(text.split())
    escaped = _SPECIAL.sub(r"\\\1", flat)
    return _LINE_START.sub(lambda match: f"{match[1][:-1]}\\{match[1][-1]}", escaped)


def excerpt(text: str, limit: int = 300) -> str:
    """The beginning of a text, escaped, in one line, cut between words where that is near."""
    flat = " ".join(text.split())
    if len(flat) > limit:
        cut = flat[:limit]
        flat = (cut.rsplit(" ", 1)[0] if " " in cut[limit // 2 :] else cut) + " …"
    return escape(flat)


def code(text: str) -> str:
    """Text in a code span, also where it has backticks or is to stand in a table."""
    flat = " ".join(text.split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table; the first `left` columns are aligned left, the others right.

    Cells are Markdown already.
    """
    rule = ["---" if place < left else "--:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def columns(rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "  ") -> str:
    """Plain text in aligned columns; the first `left` are aligned left, the others right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return (indent + "  ".join(parts)).rstrip()

    return "\n".join(map(line, rows))
