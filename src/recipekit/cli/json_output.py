"""The `--json` option of commands that print one JSON value."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

__all__ = ["AsJson", "print_json"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # A lone surrogate, which UTF-8 cannot hold, becomes a JSON escape.
    typer.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"))
