"""YAML that recipekit writes has one meaning for every reader."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recipekit.yaml_format import dump, parse

AMBIGUOUS = [
    *("no", "on", "yes", "off", "y", "N", "true", "null", "~", ""),
    *("1", "1.5", "1e-5", "0x1F", "0o17", "017", "1_000", "1:30", "2026-11-28", ".nan", "<<", "="),
]
"""Texts that a reader of YAML 1.1 or of YAML 1.2 reads as another type if they are not quoted."""

scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9)
numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | (
    st.sampled_from(AMBIGUOUS)
)
values = st.recursive(
    scalars | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(value=values)
def test_written_yaml_reads_the_same_by_the_rules_of_yaml_1_1_and_1_2(value: object) -> None:
    written = dump(value)
    assert parse(written) == value
    assert yaml.safe_load(written) == value


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_text_that_could_be_another_type_is_quoted(text: str) -> None:
    assert f"'{text}'" in dump({"key": text})
    assert parse(dump({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("text", ["no: on", "no: &a on", "'no': \"on\""])
def test_words_of_yaml_1_1_are_text(text: str) -> None:
    assert parse(text) == {"no": "on"}


@pytest.mark.parametrize("text", ["&a [*a]", "[a", "? [a]\n: b", "[" * 100_000])
def test_what_is_not_plain_yaml_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
