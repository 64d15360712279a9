"""The page of a report in headless Chromium: console, layout and search, light and dark.

`RECIPEKIT_SCREENSHOTS=FOLDER` keeps the screenshots.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.browser import BACKGROUNDS, browse, needs_chromium, probed
from recipekit.pipeline.report import write_report

SEARCH = """
const box = document.querySelector(".search input");
const list = box.closest(".examples");
const shown = () => list.querySelectorAll("article:not([hidden])").length;
const all = shown();
box.value = "scores ABOVE"; box.dispatchEvent(new Event("input"));
"""

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.usefixtures("drawn_figures")]


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
def test_the_page_fits_and_logs_nothing(
    write_run: Callable[..., Path], tmp_path: Path, width: int, theme: str
):
    run = write_run()
    write_report(run)
    kept = os.environ.get("RECIPEKIT_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path
    shot = folder / f"report-{width}-{theme}.png"
    logged = browse(run / "report.html", width, theme, tmp_path, f"--screenshot={shot}")
    assert "CONSOLE" not in logged
    assert shot.stat().st_size > 20_000
    found = probed(
        run / "report.html", width, theme, tmp_path, script=SEARCH, values="all, found: shown(),"
    )
    layout = {"page": 0, "wide": 0, "background": BACKGROUNDS[theme]}
    assert found == {**layout, "all": 3, "found": 1}


def test_the_policy_of_the_page_stops_a_script_that_is_not_its_own(
    write_run: Callable[..., Path], tmp_path: Path
):
    run = write_run()
    write_report(run)
    page = tmp_path / "attacked.html"
    attack = "<script>console.log('ran')</script></body>"
    page.write_text((run / "report.html").read_text().replace("</body>", attack))
    logged = browse(page, 400, "light", tmp_path, "--dump-dom")
    assert "Content Security Policy" in logged
    assert '"ran"' not in logged
