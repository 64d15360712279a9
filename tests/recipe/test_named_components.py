"""`use` with the path of another component of the recipe."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recipekit.errors import RecipeError
from recipekit.recipe.fill import filled
from recipekit.stages.recipe import load_recipe

Write = Callable[..., Path]

RECIPE = """\
encoders:
  student: {{use: frozen}}
mine:
  retrievers:
    lexical: {{use: bm25, k1: 0.9, b: 0.3, depth: 40}}
    dense: {{use: exact, encoder: student, depth: 20}}
evaluate:
  evaluators: {{test: {{use: retrieval}}}}
  baselines:
    plain: {first}
    both:
      use: hybrid
      retrievers:
        lexical: {first}
        dense: {second}
"""
WRITTEN = {
    "first": "{use: bm25, k1: 0.9, b: 0.3, depth: 40}",
    "second": "{use: exact, encoder: student, depth: 7}",
}
NAMED = {
    "first": "{use: mine.retrievers.lexical}",
    "second": "{use: mine.retrievers.dense, depth: 7}",
}


def messages(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, overrides)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_a_named_component_equals_one_that_is_written_out(write: Write) -> None:
    named = load_recipe(write(RECIPE.format(**NAMED)))
    written = load_recipe(write(RECIPE.format(**WRITTEN)))
    assert filled(named) == filled(written)
    assert named.evaluate == written.evaluate


def test_overrides_change_the_named_component_and_the_one_that_names_it(write: Write) -> None:
    overrides = [
        "mine.retrievers.lexical.k1=1.5",
        "evaluate.baselines.both.retrievers.lexical.depth=3",
    ]
    found = load_recipe(write(RECIPE.format(**NAMED)), overrides)
    assert found.mine is not None and found.evaluate is not None
    baselines = found.evaluate.baselines
    inner = baselines["both"].spec.retrievers["lexical"].spec  # type: ignore[attr-defined]
    assert (inner.k1, inner.depth) == (1.5, 3)
    assert baselines["plain"].spec == found.mine.retrievers["lexical"].spec


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            "mine.retrievers.lexcal",
            "mine.retrievers has no component 'lexcal' (there are: lexical, dense). Did you mean "
            "'lexical'?",
        ),
        (
            "mine.retrievers",
            "mine has no component 'retrievers' (there are: none).",
        ),
        (
            "evaluate.baselines.both",
            "'evaluate.baselines.both' names another component itself: name that one",
        ),
        (
            "collect.sources.jars",
            "unknown retriever 'shelf': it is the name of a component of another kind (source)",
        ),
    ],
)
def test_a_wrong_name_is_reported_where_it_is_used(write: Write, use: str, message: str) -> None:
    recipe = RECIPE.format(first=f"{{use: {use}}}", second="{use: exact, encoder: student}")
    found = messages(write(recipe))
    assert f"evaluate.baselines.both.retrievers.lexical.use: {message}" in found


def test_a_name_below_no_section_is_an_unknown_component(write: Write) -> None:
    recipe = RECIPE.format(first="{use: judge.judges.x}", second="{use: exact, encoder: student}")
    assert "unknown retriever 'judge.judges.x'" in messages(write(recipe))[0]


def test_a_mistake_in_a_named_component_is_reported_once(write: Write) -> None:
    text = RECIPE.format(**NAMED).replace("k1: 0.9, b: 0.3", "k1: -1, lang: 2")
    assert messages(write(text)) == [
        "mine.retrievers.lexical.k1: must be >= 0, found the number -1",
        "mine.retrievers.lexical.lang: unknown key. Did you mean 'language'?",
    ]


def test_keys_next_to_the_name_of_a_component_are_reported_where_they_are(write: Write) -> None:
    named = {**NAMED, "first": "{use: mine.retrievers.lexical, k1: -1}"}
    text = RECIPE.format(**named).replace("k1: 0.9", "k1: -1")
    assert messages(write(text)) == [
        "mine.retrievers.lexical.k1: must be >= 0, found the number -1",
        "evaluate.baselines.plain.k1: must be >= 0, found the number -1",
        "evaluate.baselines.both.retrievers.lexical.k1: must be >= 0, found the number -1",
    ]
