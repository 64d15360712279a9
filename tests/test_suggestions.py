"""The word that a misspelt one was probably meant to be."""

import pytest

from recipekit.suggestions import did_you_mean

NAMES = [f"component_{number}" for number in range(5000)]


@pytest.mark.parametrize("word", ["bm52", "bm2", "bm255", "bn25", "bm25"])
def test_one_edit_is_found_among_thousands_of_names(word):
    assert did_you_mean(word, ["exact", "bm25"]) == " Did you mean 'bm25'?"
    assert did_you_mean(word, [*NAMES, "bm25"]) == " Did you mean 'bm25'?"


def test_a_lookalike_is_found_among_thousands_of_names():
    assert did_you_mean("еxact", [*NAMES, "exact"]) == " Did you mean 'exact'?"  # noqa: RUF001


@pytest.mark.parametrize("words", [["exact", "bm25"], NAMES])
def test_a_word_that_resembles_none_gives_no_suggestion(words):
    assert did_you_mean("quadrant", words) == ""
    assert did_you_mean("", words) == ""
