"""What a stream can show: its width, and whether it understands escape codes."""

from __future__ import annotations

import os
from typing import IO

__all__ = ["columns", "shows_escape_codes"]

DEFAULT_COLUMNS = 80


def columns(stream: IO[str], in_a_pipe: int) -> int:
    """The columns to fill: those of `COLUMNS`, or else of the terminal.

    Args:
        stream: Where text is printed.
        in_a_pipe: The columns of a stream that is not a terminal, if `COLUMNS` is not set.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    if not stream.isatty():
        return in_a_pipe
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_COLUMNS
    except OSError:
        return DEFAULT_COLUMNS


def shows_escape_codes(stream: IO[str]) -> bool:
    """Whether colours and bars can be shown: on a terminal, without `NO_COLOR` or `TERM=dumb`."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    return stream.isatty() and not plain
