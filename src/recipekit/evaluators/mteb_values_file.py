"""The file with the main score of every query of an mteb task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

__all__ = ["MTEB_VALUES", "EntryValues", "read_values", "write_values"]

MTEB_VALUES: Final = ".per_query.json"
"""The end of the names of these files."""

EntryValues = dict[tuple[str, str], dict[str, float]]
"""The main score of every query by its id, by split and subset."""


def write_values(file: Path, values: EntryValues) -> None:
    """Write values as JSON."""
    entries = [
        {"split": split, "subset": subset, "values": found}
        for (split, subset), found in values.items()
    ]
    file.write_text(json.dumps(entries))


def read_values(file: Path) -> EntryValues:
    """Return the values that `write_values` wrote; empty if there is no file.

    Raises:
        ValueError: The file is damaged.
    """
    if not file.is_file():
        return {}
    entries = json.loads(file.read_text())
    try:
        return {(each["split"], each["subset"]): dict(each["values"]) for each in entries}
    except (TypeError, KeyError) as error:
        raise ValueError(f"{file}: not the scores of queries") from error
