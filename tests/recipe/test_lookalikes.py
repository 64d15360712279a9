"""Characters that look like others are named, at their own position."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit.errors import RecipeError
from recipekit.stages.recipe import load_recipe

RECIPE = """\
recipe: 1
name: tiny
collect:
  sources:
    own: {use: pairs, file: pairs.jsonl}
mine:
  retrievers:
    lexical: {use: bm25, depth: 10}
  fusion: rrf
"""


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """`problems(old, new)`: what is wrong with the recipe after a replacement."""

    def problems(old: str, new: str) -> list[str]:
        assert RECIPE.count(old) == 1
        file = tmp_path / "r.yaml"
        file.write_text(RECIPE.replace(old, new))
        with pytest.raises(RecipeError) as caught:
            load_recipe(file)
        return [str(problem).replace(f"{file}:", "") for problem in caught.value.problems]

    return problems


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "sources",
            "s\N{CYRILLIC SMALL LETTER O}urces",
            "4:4: collect.s\N{CYRILLIC SMALL LETTER O}urces: unknown key. Did you mean 'sources'? "
            "'\N{CYRILLIC SMALL LETTER O}' (U+043E, Cyrillic small letter o) is not 'o'",
        ),
        (
            "{use: pairs",
            "{“use”: pairs",
            "5:11: collect.sources.own.“use”: unknown key. Did you mean 'use'? "
            "'“' (U+201C, left double quotation mark) is not '\"'",
        ),
        (
            "depth",
            "\uff44\uff45\uff50\uff54\uff48",
            "8:26: mine.retrievers.lexical.\uff44\uff45\uff50\uff54\uff48: unknown key. "
            "Did you mean 'depth'? "
            "'\uff44' (U+FF44, fullwidth Latin small letter d) is not 'd'",
        ),
        (
            "name: tiny",
            "name\uff1atiny",
            "2:1: a key must be followed by ':' and a space; "
            "in column 5, '\uff1a' (U+FF1A, fullwidth colon) is not ':'",
        ),
        (
            "pairs, ",
            "pairs\uff0c ",
            "5:27: a ',' or the closing bracket of line 5 is missing before this; "
            "in column 21, '\uff0c' (U+FF0C, fullwidth comma) is not ','",
        ),
        (
            "name: tiny",
            "name:\u00a0tiny",
            "2:1: a key must be followed by ':' and a space; "
            "in column 6, U+00A0 (no-break space) is not an ordinary space",
        ),
        (
            "depth:",
            "depth\u00a0:",
            "8:31: mine.retrievers.lexical.depth: U+00A0 (no-break space) is not an ordinary "
            "space: use an ordinary space, or quote the key",
        ),
        (
            "  fusion",
            "\u00a0\u00a0fusion",
            "9:1: fusion: U+00A0 (no-break space) is not an ordinary space: use an ordinary "
            "space, or quote the key",
        ),
        (
            "depth",
            "dep\u200bth",
            "8:29: mine.retrievers.lexical.depth: U+200B (zero width space) is an invisible "
            "character: remove it, or quote the key",
        ),
    ],
)
def test_a_lookalike_in_a_key_is_named_at_its_position(
    old: str, new: str, message: str, problems: Callable[[str, str], list[str]]
) -> None:
    assert problems(old, new) == [message]


@pytest.mark.parametrize(
    ("old", "new", "place", "named"),
    [
        ("use: pairs", "use: p\N{CYRILLIC SMALL LETTER A}irs", "5:17", "Cyrillic small letter a"),
        ("use: pairs", "use: “pairs”", "5:16", "left double quotation mark"),
        ("tiny", "t\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}ny", "2:8", "U+0456"),
        ("tiny", "tiny\u00a0", "2:11", "no-break space"),
        ("tiny", "tiny\u00a0# a comment", "2:11", "no-break space"),
        ("tiny", "'ti\u200bny'", "2:10", "zero width space"),
        ("rrf", "rr\u200bf", "9:13", "zero width space"),
        ("10}", "\N{MINUS SIGN}10}", "8:33", "minus sign"),
        ("10}", "\uff11\uff10}", "8:33", "fullwidth digit one"),
        ("pairs.jsonl", "pairs.jsonl\u2009", "5:40", "thin space"),
    ],
)
def test_a_lookalike_in_a_value_is_named_at_its_position(
    old: str, new: str, place: str, named: str, problems: Callable[[str, str], list[str]]
) -> None:
    (problem,) = problems(old, new)
    assert problem.startswith(f"{place}: ")
    assert named in problem


def test_text_in_another_alphabet_is_what_it_seems_to_be(
    tmp_path: Path, problems: Callable[[str, str], list[str]]
) -> None:
    found = problems("fusion", "\N{CYRILLIC SMALL LETTER O}\N{CYRILLIC SMALL LETTER EN}")
    assert "U+" not in found[0]
    text = "description: d\u00e9j\u00e0 vu — “quoted”\u00a0! \U0001f468\u200d\U0001f469\n"
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE + text)
    assert load_recipe(file).description == text.removeprefix("description: ").strip()


def test_a_lookalike_in_an_override_is_named(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    path = "mine.fusi\N{CYRILLIC SMALL LETTER O}n"
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [f"{path}=rrf"])
    assert str(caught.value) == (
        f"--set {path}=rrf: {path}: unknown key. Did you mean 'fusion'? "
        "'\N{CYRILLIC SMALL LETTER O}' (U+043E, Cyrillic small letter o) is not 'o'"
    )
