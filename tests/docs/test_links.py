"""Links, anchors and paths in the pages exist, and lines are short."""

import re
import tomllib

import pytest

from helpers.markdown import PAGES, ROOT, anchors, links, prose

WIDTH = 100
PATH = re.compile(r"`((?:src|tests|docs|recipes|schemas|plugins)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_anchor_exists(page):
    broken = []
    for line, target in links(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{page.relative_to(ROOT)}:{line}: {target}")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_the_project_that_a_page_names_exists(page):
    missing = [
        f"{page.relative_to(ROOT)}:{number}: {path}"
        for number, line in prose(page)
        for path in PATH.findall(line)
        if not (ROOT / path).exists() and not (page.parent / path).exists()
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_short(page):
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for number, line in prose(page)
        if len(line) > WIDTH and not line.startswith("|")
    ]
    assert not long, "\n".join(long)


def test_the_architecture_page_lists_the_modules_of_the_import_contract():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Modules")[2].partition("## Stages")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert listed == {name for layer in layers for name in layer.split(" | ")} - {"__main__"}
