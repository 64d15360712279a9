"""Help that fits the terminal. That of typer is 50 to 80 columns wide."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from recipekit.report.terminal_stream import columns

__all__ = ["Command", "CommandGroup"]

WIDEST: Final = 100
NARROWEST: Final = 30
TEXT_SHARE: Final = 0.6
"""The least share of a line for the explanation of an option."""

# A base class of unknown type would be an error of mypy.
_Formatter: Any = object if TYPE_CHECKING else typer.Context.formatter_class


class _HelpFormatter(_Formatter):  # type: ignore[misc]
    """Starts an explanation below a long option if there is little room next to it."""

    def __init__(self, **options: Any) -> None:
        width = max(min(columns(sys.stdout, WIDEST), WIDEST), NARROWEST)
        super().__init__(**{**options, "width": width})

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        room = round(self.width * (1 - TEXT_SHARE)) - col_spacing
        super().write_dl(rows, min(col_max, room), col_spacing)


class Command(TyperCommand):
    """A command whose help fits the terminal."""

    def get_help(self, ctx: Any) -> str:
        """The help text."""
        ctx.formatter_class = _HelpFormatter
        return super().get_help(ctx)


class CommandGroup(TyperGroup):
    """A group of commands whose help fits the terminal."""

    def get_help(self, ctx: Any) -> str:
        """The help text."""
        ctx.formatter_class = _HelpFormatter
        return super().get_help(ctx)
