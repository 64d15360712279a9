"""Pages, source, recipes and tests use plain English: none of the phrases that STYLE retired."""

import re

import pytest

from helpers.markdown import PAGES, ROOT, prose

RETIRED = re.compile(
    r"\b(anew|beside|mended|bears?|speaks of|as (?:it stands|they stand)|stands? in (?!for)|"
    r"(?:re)?told|said|heard|spoken|whatever it is|at the most|nobody asks|somebody|whose word|"
    r"last word|(?<!there )is no (?:YAML|JSON|number|text|url)|is none that|is there already|"
    r"people's labels|(?:judged|asked) blind|blind pairs|near_positive|audit_given|the house|"
    r"setback)\b",
    re.IGNORECASE,
)
CODE = [
    *(ROOT / "src").rglob("*.py"),
    *(ROOT / "src").rglob("*.jinja"),
    *(ROOT / "recipes").glob("*.yaml"),
    *(ROOT / "docs").rglob("*.py"),
    *(ROOT / "docs").rglob("*.yaml"),
    *(ROOT / "plugins").rglob("*.py"),
    *(ROOT / "tests").rglob("*.py"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_uses_a_retired_phrase(page):
    found = [
        f"{page.relative_to(ROOT)}:{number}: {match[0]}"
        for number, line in prose(page)
        for match in RETIRED.finditer(line)
    ]
    assert not found, "\n".join(found)


def test_no_code_uses_a_retired_phrase():
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]}"
        for file in CODE
        if file.name != "test_language.py"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        for match in RETIRED.finditer(line)
    ]
    assert not found, "\n".join(found)
