"""What the card of a model states, which is the README in its folder."""

from __future__ import annotations

from pathlib import Path

from recipekit.yaml_format import parse

__all__ = ["licence_of"]


def licence_of(folder: Path) -> str | None:
    """Return the licence that a model's card states; None if it states none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        _, front, _ = text.split("---\n", 2) if text.startswith("---\n") else ("", "", "")
        values = parse(front)
    except (OSError, ValueError):
        return None
    licence = values.get("license") if isinstance(values, dict) else None
    if licence == "other":
        licence = values.get("license_name") or licence
    return str(licence) if licence else None
