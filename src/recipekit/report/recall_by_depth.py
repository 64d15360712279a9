"""Recall of evaluated systems by depth: how many passages to read for the relevant ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from recipekit.report.blocks import Figure, Table

__all__ = ["RECALL_BY_DEPTH", "recall_figure"]

RECALL_BY_DEPTH: Final = "recall_by_depth.json"
"""The file in an evaluator's folder with each system's recall, by system and depth."""


def recall_figure(title: str, recall: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """A line for each system over the depth; None with fewer than two depths.

    Args:
        title: The title of the figure and of its table.
        recall: Recall by system and depth.
    """
    depths = sorted({depth for own in recall.values() for depth in own}, key=int)
    if len(depths) < 2:
        return None
    rows = [
        [system, *(f"{own[depth]:.3f}" if depth in own else "" for depth in depths)]
        for system, own in recall.items()
    ]
    series = {
        system: [(float(depth), own[depth]) for depth in depths if depth in own]
        for system, own in recall.items()
    }
    table = Table(["system", *depths], rows, title=title)
    return Figure(title, "depth", series, table, y="recall", log_x=True)
