"""Checks of the `export` section."""

from __future__ import annotations

from recipekit.recipe.draft import Draft

__all__ = ["check"]


def check(draft: Draft) -> None:
    """Check that no exporter is named like the folder for unfinished work."""
    if draft.at("export", "exporters", "scratch") is not None:
        message = (
            "this name is reserved: an exporter's name is its folder's, and `scratch` holds "
            "unfinished work"
        )
        draft.report(("export", "exporters", "scratch"), message, "RK107", at_key=True)
