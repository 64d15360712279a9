"""The pages use plain English: none of the phrases that STYLE retired."""

import re

import pytest

from helpers.markdown import PAGES, ROOT, prose

RETIRED = re.compile(
    r"\b(anew|beside|mended|bears?|speaks of|as (?:it stands|they stand)|stands? in (?!for)|told|"
    r"what is (?:said|heard|told)|whatever it is|at the most|nobody asks|somebody|whose word|"
    r"last word|is no (?:YAML|JSON|number|text|url)|is none that|is there already|people's labels|"
    r"(?:judged|asked) blind|blind pairs|near_positive|audit_given|the house)\b",
    re.IGNORECASE,
)
GENERATED = ROOT / "docs" / "recipes"
WRITTEN = [page for page in PAGES if page.parent != GENERATED]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_uses_a_retired_phrase(page):
    found = [
        f"{page.relative_to(ROOT)}:{number}: {match[0]}"
        for number, line in prose(page)
        for match in RETIRED.finditer(line)
    ]
    assert not found, "\n".join(found)
