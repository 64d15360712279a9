"""What YAML means in a recipe, and what is refused."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipekit.errors import RecipeError
from recipekit.recipe.read import MAX_BYTES, read_file, read_text
from recipekit.yaml_format import dump


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("+3", 3),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
        ("ndcg@10", "ndcg@10"),
        ("C:\\data", "C:\\data"),
        ("[a, 'b', 3]", ["a", "b", 3]),
    ],
)
def test_plain_scalars_are_read_by_the_yaml_1_2_core_schema(text: str, value: object) -> None:
    read = read_text(f"key: {text}\n", "r.yaml").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_texts_or_whole_numbers() -> None:
    assert read_text("{0: a, 1: b, -2: c, '03': d}\n", "r.yaml").value == {
        "0": "a",
        "1": "b",
        "-2": "c",
        "03": "d",
    }
    messages = [
        str(finding.message)
        for finding in read_text(
            "{00: a, 0x1: b, 1.0: c, true: d, ~: e, +1: f}\n", "r.yaml"
        ).findings
    ]
    assert messages == [
        f"key {key} is not text: quote it, or choose another name"
        for key in ("00", "0x1", "1.0", "true", "~", "+1")
    ]


def test_every_key_and_value_has_a_source_location() -> None:
    document = read_text("a:\n  b: [1, {c: 2}]\n", "r.yaml")
    assert document.key(("a", "b")).text == "r.yaml:2:3"
    assert document.place(("a", "b", 0)).text == "r.yaml:2:7"
    assert document.key(("a", "b", 1, "c")).text == "r.yaml:2:11"
    assert document.place(("a", "nothing", "such")).text == "r.yaml:1:1"


def test_block_texts_keep_their_lines_and_tabs() -> None:
    document = read_text('text: |\n  one\n  \ttwo\nquoted: "a\n\tb"\n', "r.yaml")
    assert document.value == {"text": "one\n\ttwo\n", "quoted": "a b"}
    assert not document.findings


@pytest.mark.parametrize(
    "text", ["a:\n\tb: 1\n", "a: one\n  \ttwo\n", "a: [1,\n\t2]\n", "a:\n  b: 1\n\t# why\n"]
)
def test_a_tab_in_the_indentation_is_reported(text: str) -> None:
    with pytest.raises(
        RecipeError, match=r"r\.yaml:\d:\d: tab in the indentation: YAML allows spaces only"
    ):
        read_text(text, "r.yaml")


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: no\r\n")
    assert read_file(file, "r.yaml").value == {"a": 1, "b": "no"}


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"a: 1\n" + b"#" * MAX_BYTES)
    with pytest.raises(RecipeError, match="larger than 1 MiB"):
        read_file(file, "r.yaml")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml:1:54: nested more than 50 deep"):
        read_text("a: " + "[" * 100_000, "r.yaml")


def test_only_the_first_hundred_mistakes_are_listed() -> None:
    with pytest.raises(RecipeError) as caught:
        read_text("".join(f"a{n}: *x\n" for n in range(150)) + "b: [", "r.yaml")
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].message == "... and 51 more"


@pytest.mark.parametrize("text", ['a: "\\0"', 'a: "\\ud800"'])
def test_escapes_for_characters_that_text_cannot_contain_are_refused(text: str) -> None:
    assert "that text cannot contain" in read_text(text, "r.yaml").findings[0].message


def test_a_number_with_too_many_digits_is_refused() -> None:
    assert "too large" in read_text("a: " + "9" * 5000, "r.yaml").findings[0].message


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc_-1", min_size=1).map("k".__add__), inner, max_size=4)
    ),
)


@given(trees)
def test_dumped_yaml_is_read_back_unchanged(tree: object) -> None:
    document = read_text(dump({"key": tree}), "r.yaml")
    assert document.value == {"key": tree}
    assert not [finding for finding in document.findings if "nothing" not in finding.message]


@given(
    st.sampled_from(
        [
            "no",
            "1e-5",
            "017",
            "0o17",
            "null",
            "",
            " x ",
            "a: b",
            "# c",
            "- d",
            "${env:X}",
            "1.0",
            "x\n y\n",
            "\ty",
            "a #b",
        ]
    )
)
def test_texts_that_look_like_other_types_stay_texts(text: str) -> None:
    assert read_text(dump({"key": text, "list": [text]}), "r.yaml").value == {
        "key": text,
        "list": [text],
    }


@given(st.text(max_size=60))
def test_any_text_gives_a_document_or_a_recipe_error(text: str) -> None:
    try:
        read_text(text, "r.yaml")
    except RecipeError as error:
        assert str(error).startswith("r.yaml:")


def test_infinities_are_refused() -> None:
    for text in (".inf", "-.INF", ".nan", "1e999"):
        document = read_text(f"a: {text}", "r.yaml")
        assert document.findings and not (
            isinstance(document.value["a"], float) and math.isinf(document.value["a"])
        )
