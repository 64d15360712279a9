"""The page of a comparison: one HTML file with all figures."""

from __future__ import annotations

from pathlib import Path

from recipekit.artifacts.storage_errors import explained
from recipekit.comparison.describe import page_blocks, page_title
from recipekit.comparison.result import Comparison
from recipekit.report.blocks import figures_of
from recipekit.report.html import render_html
from recipekit.report.svg import can_draw, figure_file, render_svg

__all__ = ["write_page"]


def write_page(comparison: Comparison, file: Path) -> None:
    """Write a comparison as a page that needs no network and no other file.

    Raises:
        StoreError: The file cannot be written.
    """
    blocks = page_blocks(comparison)
    figures = figures_of(blocks) if can_draw() else ()
    drawings = {figure_file(figure): render_svg(figure) for figure in figures}
    page = render_html(blocks, title=page_title(comparison), drawings=drawings)
    with explained(file.absolute().parent, file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
