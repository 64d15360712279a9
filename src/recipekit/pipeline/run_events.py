"""What happens during a run: lines for people, and JSON objects for `recipekit run --json`.

The names of events and fields are a stable format, which docs/cli.md describes. A stage's own
process sends the events of its work (`progress`, `done`, `info` and `warning`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recipekit.errors import RecipeError, RecipekitError
from recipekit.recipe.environment import redact

__all__ = ["EVENTS", "OnEvent", "Output", "RunEvent", "error_event", "json_line"]

Output = Literal["text", "quiet", "json"]
"""How a run shows what happens: in words, warnings and errors only, or as JSON lines."""

EVENTS: Mapping[str, tuple[str, ...]] = {
    "machine_waiting": ("machine",),
    "machine_joined": ("machine",),
    "machine_stage": ("machine", "stage"),
    "run_started": ("run", "recipe", "cache", "stages"),
    "stage_cached": ("stage", "key"),
    "stage_waiting": ("stage",),
    "stage_started": ("stage", "key", "reasons"),
    "progress": ("stage", "name", "done", "total", "unit", "seconds", "figures"),
    "done": ("stage", "name", "done", "unit", "seconds"),
    "info": ("stage", "message"),
    "warning": ("stage", "message"),
    "stage_restarted": ("stage", "restart", "reason", "kept"),
    "stage_finished": ("stage", "key", "seconds", "summary"),
    "exported": ("folder", "exports"),
    "run_finished": (
        "run",
        "status",
        "reason",
        "ran",
        "cached",
        "report",
        "report_html",
        "metrics",
    ),
    "error": ("code", "message", "problems"),
}
"""The fields of each event. Every event also has `event` and `time` (seconds since 1970)."""


@dataclass(frozen=True)
class RunEvent:
    """One event, with its line for people; no line if they are not shown it."""

    name: str
    fields: Mapping[str, Any]
    line: str = ""


OnEvent = Callable[[RunEvent], None]


def json_line(event: str, fields: Mapping[str, Any]) -> str:
    """An event as one line of JSON, without secrets."""
    record = {"event": event, "time": round(time.time(), 3), **fields}
    line = redact(json.dumps(record, ensure_ascii=False, default=str))
    # A lone surrogate, which UTF-8 cannot hold, becomes a JSON escape.
    return line.encode("utf-8", "backslashreplace").decode("utf-8")


def error_event(error: RecipekitError) -> dict[str, Any]:
    """The fields of `error`. A wrong recipe has a list of problems."""
    problems: Sequence[Any] = error.problems if isinstance(error, RecipeError) else ()
    return {
        "code": error.code,
        "message": error.message,
        "problems": [
            {"where": found.where, "path": found.path, "message": found.message, "code": found.code}
            for found in problems
        ],
    }
