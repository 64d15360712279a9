"""A page in headless Chromium: what it logs, a screenshot, and a print."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["BACKGROUNDS", "CHROMIUM", "browse", "needs_chromium", "probed"]

CHROMIUM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS: Final = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--enable-logging=stderr --virtual-time-budget=2000"
).split()
BACKGROUNDS: Final = {"dark": "rgb(20, 24, 29)", "light": "rgb(255, 255, 255)"}
"""The background of a page by theme."""
LAYOUT: Final = """
  page: document.documentElement.scrollWidth - innerWidth,
  wide: [...document.querySelectorAll("main *")].filter((each) =>
    !each.closest(".table, pre") && each.getBoundingClientRect().right > innerWidth + 1).length,
  background: getComputedStyle(document.body).backgroundColor,
"""
"""Pixels by which the page is wider than the window, and elements that leave the window."""

needs_chromium: Final = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def browse(page: Path, width: int, theme: str, folder: Path, *flags: str) -> str:
    """Open a page and return what the browser logs.

    Args:
        page: An HTML file.
        width: The width of the window.
        theme: The reader's system: `light` or `dark`.
        folder: Where the browser keeps its profile.
        flags: Further flags.
    """
    scheme = f"--blink-settings=preferredColorScheme={0 if theme == 'dark' else 1}"
    size = f"--window-size={width},2400"
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [str(CHROMIUM), *FLAGS, scheme, size, profile, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stderr


def probed(
    page: Path, width: int, theme: str, folder: Path, script: str = "", values: str = ""
) -> dict[str, Any]:
    """Run a script in a page, and return its layout and further values.

    Args:
        page: An HTML file, whose policy is removed in a copy.
        width: The width of the window.
        theme: The reader's system: `light` or `dark`.
        folder: Where the copy and the browser's profile are.
        script: JavaScript that runs first.
        values: Further values, as in a JavaScript object: `all: 3,`.
    """
    probe = f"<script>{script}\nconsole.log('PROBE ' + JSON.stringify({{{LAYOUT}{values}}}));"
    html = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text())
    copy = folder / "probed.html"
    copy.write_text(html.replace("</body>", f"{probe}</script></body>"))
    logged = browse(copy, width, theme, folder, "--dump-dom")
    found = re.search(r"PROBE (\{.*?\})", logged)
    assert found is not None, logged
    values_found: dict[str, Any] = json.loads(found[1])
    return values_found
