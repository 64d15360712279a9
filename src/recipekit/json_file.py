"""Small JSON files, any of which may be missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_json"]


def read_json(file: Path) -> Any:
    """Return the value of a JSON file; None if the file cannot be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
