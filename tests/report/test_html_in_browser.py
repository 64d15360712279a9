"""The page of a report in headless Chromium: console, layout and search, light and dark.

`RECIPEKIT_SCREENSHOTS=FOLDER` keeps the screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit.pipeline.report import write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--enable-logging=stderr --virtual-time-budget=2000"
).split()
PROBE = """
<script>
const box = document.querySelector(".search input");
const list = box.closest(".examples");
const shown = () => list.querySelectorAll("article:not([hidden])").length;
const all = shown();
box.value = "scores ABOVE"; box.dispatchEvent(new Event("input"));
document.title = JSON.stringify({
  page: document.documentElement.scrollWidth - innerWidth,
  wide: [...document.querySelectorAll("main *")].filter((each) =>
    !each.closest(".table, pre") && each.getBoundingClientRect().right > innerWidth + 1).length,
  all, found: shown(), background: getComputedStyle(document.body).backgroundColor,
});
console.log("PROBE " + document.title);
</script>
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


def browse(page: Path, width: int, theme: str, folder: Path, *flags: str) -> str:
    """Open a page and return what the browser logs."""
    scheme = f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}"
    size = f"--window-size={width},2400"
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(CHROMIUM), *FLAGS, scheme, size, profile, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stderr


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
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

    html = (run / "report.html").read_text()
    probed = tmp_path / "probed.html"
    without_policy = re.sub(r"<meta http-equiv[^>]*>", "", html)
    probed.write_text(without_policy.replace("</body>", f"{PROBE}</body>"))
    logged = browse(probed, width, theme, tmp_path, "--dump-dom")
    probe = re.search(r"PROBE (\{.*?\})", logged)
    assert probe is not None, logged
    background = "rgb(20, 24, 29)" if theme == "dark" else "rgb(255, 255, 255)"
    assert probe[1] == (f'{{"page":0,"wide":0,"all":3,"found":1,"background":"{background}"}}')


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
