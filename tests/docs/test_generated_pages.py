"""The generated pages are what the generator writes, and the error codes are complete."""

import re

import yaml

from helpers.markdown import ROOT
from recipekit.component import KINDS
from recipekit.error_codes import ERROR_CODES
from recipekit.registry import find

CODE = re.compile(r'"(RK\d{3})"')


def test_generated_pages_are_up_to_date(generator):
    pages = generator.pages()
    on_disk = {f"recipes/{path.name}" for path in (ROOT / "docs" / "recipes").glob("*.md")}
    assert on_disk == {path for path in pages if path.startswith("recipes/")}
    stale = [
        path
        for path, text in pages.items()
        if (ROOT / "docs" / path).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `make docs`: {', '.join(stale)}"


def test_every_built_in_component_has_an_example(generator):
    examples = yaml.safe_load(generator.EXAMPLES.read_text())
    built_in = {
        f"{kind}/{entry.name}"
        for kind in KINDS
        for entry in find(kind)
        if entry.distribution == "recipekit"
    }
    assert set(examples) == built_in


def test_every_error_code_in_the_source_is_explained_and_every_explained_code_is_used():
    used = {
        code
        for file in (ROOT / "src").rglob("*.py")
        if file.name != "error_codes.py"
        for code in CODE.findall(file.read_text(encoding="utf-8"))
    }
    assert used == set(ERROR_CODES)


def test_error_codes_are_in_order_and_every_text_is_a_sentence():
    assert list(ERROR_CODES) == sorted(ERROR_CODES)
    for code, entry in ERROR_CODES.items():
        for text in (entry.meaning, entry.cause, entry.remedy):
            assert re.fullmatch(r"\S.*[^\s.][.]", text, re.DOTALL), f"{code}: {text!r}"
